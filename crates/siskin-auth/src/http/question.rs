//! What is asked by HTTP about a client.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::config::{HttpConfig, HttpForm};
use crate::request;
use crate::template::Template;

/// The texts of a question, parsed.
pub(crate) struct Question {
    url: Template,
    form: HttpForm,
    fields: Vec<(String, Template)>,
    headers: Vec<(HeaderName, Template)>,
}

/// A question about one client, ready to be asked, more than once if need be.
pub(crate) struct Asked {
    method: Method,
    uri: Zeroizing<String>,
    headers: Vec<(HeaderName, Zeroizing<String>)>,
    content_type: Option<&'static str>,
    body: Zeroizing<String>,
}

impl Question {
    /// The question of this configuration, at its URL or another one.
    pub(crate) fn new(config: &HttpConfig, url: &str) -> Result<Self, String> {
        // As it will be for a client who says nothing: a mistake shows at the start, not at the first log-in.
        let parsed = Template::parse(url).map_err(|wrong| format!("url: {wrong}"))?;
        if !has_fixed_host(url) {
            return Err(format!("url `{url}`: a client cannot choose the host"));
        }
        let blank = parsed.plain(&request::Request::new("")).unwrap_or_default();
        uri(&blank).map_err(|why| format!("url `{url}`: {why}"))?;
        let mut fields = Vec::new();
        for (name, text) in &config.fields {
            fields.push((
                name.clone(),
                Template::parse(text).map_err(|wrong| format!("field `{name}`: {wrong}"))?,
            ));
        }
        let mut headers = Vec::new();
        for (name, text) in &config.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("header `{}`: not a header's name", name.escape_debug()))?;
            let template = Template::parse(text).map_err(|wrong| format!("header `{name}`: {wrong}"))?;
            let blank = template.plain(&request::Request::new("")).unwrap_or_default();
            HeaderValue::from_str(&blank).map_err(|_| format!("header `{name}`: not a header's value"))?;
            headers.push((parsed, template));
        }
        Ok(Self { url: parsed, form: config.form, fields, headers })
    }

    /// The question about this client; none if it needs the password as text, which it is not.
    pub(crate) fn about(&self, client: &request::Request) -> Option<Asked> {
        let mut uri = self.url.render(client, escape_url)?;
        let mut body = Zeroizing::new(String::new());
        let (method, content_type) = match self.form {
            HttpForm::PostJson => {
                let mut object = Map::new();
                for (name, template) in &self.fields {
                    object.insert(name.clone(), Value::String(template.plain(client)?.to_string()));
                }
                *body = Value::Object(object).to_string();
                (Method::POST, Some("application/json"))
            }
            HttpForm::PostForm => {
                self.pairs(client, &mut body)?;
                (Method::POST, Some("application/x-www-form-urlencoded"))
            }
            HttpForm::Get => {
                let mut pairs = Zeroizing::new(String::new());
                self.pairs(client, &mut pairs)?;
                if !pairs.is_empty() {
                    let separator = if uri.contains('?') { '&' } else { '?' };
                    uri.push(separator);
                    uri.push_str(&pairs);
                }
                (Method::GET, None)
            }
        };
        let mut headers = Vec::new();
        for (name, template) in &self.headers {
            headers.push((name.clone(), template.plain(client)?));
        }
        Some(Asked { method, uri, headers, content_type, body })
    }

    /// The fields as `name=value&...`.
    fn pairs(&self, client: &request::Request, text: &mut String) -> Option<()> {
        for (name, template) in &self.fields {
            if !text.is_empty() {
                text.push('&');
            }
            escape_url(name, text);
            text.push('=');
            escape_url(&template.plain(client)?, text);
        }
        Some(())
    }
}

impl Asked {
    /// What tells this question from every other.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let headers =
            self.headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        [self.method.as_str().as_bytes(), self.uri.as_bytes(), self.body.as_bytes()]
            .into_iter()
            .chain(headers)
    }

    /// As hyper wants it; none if a client's value cannot stand in a header or URL.
    pub(crate) fn request(&self) -> Option<Request<Full<Bytes>>> {
        let uri: Uri = self.uri.parse().ok()?;
        let mut request = Request::builder().method(&self.method).uri(uri);
        if let Some(content_type) = self.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in &self.headers {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::copy_from_slice(self.body.as_bytes()))).ok()
    }
}

/// A URL that can be asked.
pub(crate) fn uri(text: &str) -> Result<Uri, String> {
    let needed = "it must begin with http:// or https:// and a host";
    if !text.starts_with("http://") && !text.starts_with("https://") {
        return Err(needed.to_owned());
    }
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    if uri.host().is_none_or(str::is_empty) { Err(needed.to_owned()) } else { Ok(uri) }
}

/// Whether scheme, host and port are the same for all clients.
fn has_fixed_host(url: &str) -> bool {
    let behind_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[behind_scheme..].find(['/', '?']).map_or(url.len(), |at| behind_scheme + at);
    Template::parse(&url[..end]).is_ok_and(|template| template.is_plain())
}

/// Writes a value so that it is one part of a path or query, whatever is in it.
fn escape_url(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_client_is_called_it_is_one_part_of_a_url() {
        let mut text = String::new();
        escape_url("b\"o/b&x=ü ?#%", &mut text);
        assert_eq!(text, "b%22o%2Fb%26x%3D%C3%BC%20%3F%23%25");
        assert!(uri(&format!("http://example.org/{text}?{text}={text}")).is_ok());
    }
}
