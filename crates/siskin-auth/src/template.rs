//! Texts with places for what a client says of itself.

use std::fmt;

use zeroize::Zeroizing;

use crate::request::Request;

/// A text with placeholders: `%u` user name, `%c` client id, `%P` password, `%a` peer's address, `%%` a percent
/// sign, or EMQX's `${username}`, `${clientid}`, `${password}`, `${peerhost}`, `${peerport}`,
/// `${cert_common_name}` and `${cert_subject}`. What a client does not say is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    UserName,
    ClientId,
    Password,
    PeerAddress,
    PeerPort,
    CommonName,
    CertificateSubject,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut plain = String::new();
        while let Some(at) = rest.find(['%', '$']) {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = FIELDS.iter().find(|(name, _)| rest.starts_with(name));
            if let Some((name, field)) = found {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Field(*field));
                rest = &rest[name.len()..];
            } else if let Some(behind) = rest.strip_prefix("%%") {
                plain.push('%');
                rest = behind;
            } else if rest.starts_with('%') || rest.starts_with("${") {
                let column = text[..text.len() - rest.len()].chars().count() + 1;
                return Err(Wrong { text: text.to_owned(), column });
            } else {
                plain.push('$');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// Whether it is the same for all clients.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text for a client, each value as `escape` writes it; none if the password is needed and is no text.
    pub(crate) fn render(
        &self,
        request: &Request,
        escape: impl Fn(&str, &mut String),
    ) -> Option<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Field(field) => field.with(request, |value| escape(value, &mut text))?,
            }
        }
        Some(text)
    }

    /// The text for a client, as it is.
    pub(crate) fn plain(&self, request: &Request) -> Option<Zeroizing<String>> {
        self.render(request, |value, text| text.push_str(value))
    }
}

impl Field {
    /// Tells the value; none if it is no text.
    fn with(self, request: &Request, tell: impl FnOnce(&str)) -> Option<()> {
        let certificate = request.certificate.as_ref();
        let value = match self {
            Self::UserName => request.user_name.as_deref(),
            Self::ClientId => Some(&*request.client_id),
            Self::Password => match &request.password {
                Some(password) => Some(password.text()?),
                None => None,
            },
            Self::PeerAddress => {
                if let Some(peer) = request.peer {
                    tell(&peer.ip().to_canonical().to_string());
                }
                return Some(());
            }
            Self::PeerPort => {
                if let Some(peer) = request.peer {
                    tell(&peer.port().to_string());
                }
                return Some(());
            }
            Self::CommonName => certificate.and_then(|certificate| certificate.common_name.as_deref()),
            Self::CertificateSubject => certificate.and_then(|certificate| certificate.subject.as_deref()),
        };
        tell(value.unwrap_or_default());
        Some(())
    }
}

/// A placeholder that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    text: String,
    column: usize,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`, character {}: not a placeholder; there are", self.text, self.column)?;
        for (name, _) in FIELDS {
            write!(f, " {name}")?;
        }
        f.write_str(", and %% for a percent sign")
    }
}

const FIELDS: [(&str, Field); 11] = [
    ("%u", Field::UserName),
    ("%c", Field::ClientId),
    ("%P", Field::Password),
    ("%a", Field::PeerAddress),
    ("${username}", Field::UserName),
    ("${clientid}", Field::ClientId),
    ("${password}", Field::Password),
    ("${peerhost}", Field::PeerAddress),
    ("${peerport}", Field::PeerPort),
    ("${cert_common_name}", Field::CommonName),
    ("${cert_subject}", Field::CertificateSubject),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Certificate, Secret};

    fn request() -> Request {
        Request {
            user_name: Some("bob".into()),
            password: Some(Secret::new("s%u")),
            peer: Some("[::ffff:192.0.2.1]:7".parse().unwrap()),
            certificate: Some(Certificate { common_name: Some("device".into()), ..Certificate::default() }),
            ..Request::new("phone")
        }
    }

    #[test]
    fn values_take_the_place_of_their_names_and_are_not_looked_into() {
        let cases = [
            ("", ""),
            ("plain $5", "plain $5"),
            ("%u@%c: %P %a", "bob@phone: s%u 192.0.2.1"),
            ("${username}${clientid}|${password}|${peerhost}:${peerport}", "bobphone|s%u|192.0.2.1:7"),
            ("%%u 100%%", "%u 100%"),
            ("${cert_common_name}/${cert_subject}", "device/"),
        ];
        for (template, text) in cases {
            assert_eq!(*Template::parse(template).unwrap().plain(&request()).unwrap(), text, "{template}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_named_with_its_place() {
        for (template, column) in [("a%x", 2), ("ä${user}", 2), ("100%", 4), ("%u %20", 4)] {
            assert_eq!(Template::parse(template).unwrap_err().column, column, "{template}");
        }
    }

    #[test]
    fn a_password_that_is_no_text_has_no_place_in_one() {
        let request = Request { password: Some(Secret::new([0xff])), ..request() };
        assert!(Template::parse("%P").unwrap().plain(&request).is_none());
        assert!(Template::parse("%u").unwrap().plain(&request).is_some());
    }
}
