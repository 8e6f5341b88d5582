//! The admin API of a broker, from the other side.

use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use serde_json::Value;
use ureq::{Agent, RequestBuilder};

/// Where the API is, and who asks.
#[derive(clap::Args)]
pub(crate) struct Access {
    /// Address of the admin API [default: $SISKIN_ADMIN_URL or http://127.0.0.1:18083]
    #[arg(long, value_name = "URL", global = true, help_heading = "Where the broker is")]
    url: Option<String>,

    /// Token [default: $SISKIN_ADMIN_TOKEN]
    #[arg(long, value_name = "TEXT", global = true, help_heading = "Where the broker is")]
    token: Option<String>,

    /// User and password [default: $SISKIN_ADMIN_USER]
    #[arg(
        long,
        value_name = "USER:PASSWORD",
        global = true,
        conflicts_with = "token",
        help_heading = "Where the broker is"
    )]
    user: Option<String>,
}

/// The API of one broker.
pub(crate) struct Api {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    Usage(String),
    /// The broker cannot be reached, or does not speak as it should.
    Unreachable(String),
    /// The broker says no.
    Refused(String),
    /// What was written was not taken.
    Output,
}

impl Api {
    /// The API that the command line and the environment name.
    pub(crate) fn new(access: &Access) -> Result<Self, Failure> {
        let from = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = access.url.clone().or_else(|| from("SISKIN_ADMIN_URL"));
        let url = url.unwrap_or_else(|| "http://127.0.0.1:18083".to_owned());
        let url = if url.contains("://") { url } else { format!("http://{url}") };
        if !url.starts_with("http://") {
            return Err(Failure::Usage(format!("`{url}` is not an address like http://127.0.0.1:18083")));
        }
        let (token, user) = match (&access.token, &access.user) {
            (None, None) => (from("SISKIN_ADMIN_TOKEN"), from("SISKIN_ADMIN_USER")),
            (token, user) => (token.clone(), user.clone()),
        };
        let authorization = match (token, user) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(user)) => Some(format!("Basic {}", Base64::encode_string(user.as_bytes()))),
            (None, None) => None,
        };
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .user_agent(concat!("siskin/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), authorization })
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        self.get_any(path, query).and_then(|(status, answer)| accepted(status, answer))
    }

    /// The answer whatever its status is.
    pub(crate) fn get_any(&self, path: &str, query: &[(&str, String)]) -> Result<(u16, Value), Failure> {
        let request = self.prepare(self.agent.get(self.at(path)), query);
        self.answer(request.call())
    }

    /// The lines of an answer that need not end.
    pub(crate) fn stream(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<impl io::BufRead + Send + 'static, Failure> {
        let request = self.prepare(self.agent.get(self.at(path)), query);
        let request = request.config().timeout_global(None).timeout_recv_response(Some(TIMEOUT)).build();
        match request.call() {
            Ok(response) if response.status().is_success() => {
                Ok(io::BufReader::new(response.into_body().into_reader()))
            }
            answered => match self.answer(answered).and_then(|(status, answer)| accepted(status, answer)) {
                Err(failure) => Err(failure),
                // Every success is a stream.
                Ok(_) => Err(Failure::Unreachable("the broker does not stream what it answers".to_owned())),
            },
        }
    }

    pub(crate) fn delete(&self, path: &str, query: &[(&str, String)]) -> Result<Value, Failure> {
        let request = self.prepare(self.agent.delete(self.at(path)), query);
        self.answer(request.call()).and_then(|(status, answer)| accepted(status, answer))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.prepare(self.agent.post(self.at(path)), &[]);
        let request = request.header("Content-Type", "application/json");
        self.answer(request.send(body.to_string())).and_then(|(status, answer)| accepted(status, answer))
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.prepare(self.agent.put(self.at(path)), &[]);
        let request = request.header("Content-Type", "application/json");
        self.answer(request.send(body.to_string())).and_then(|(status, answer)| accepted(status, answer))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn prepare<Body>(
        &self,
        mut request: RequestBuilder<Body>,
        query: &[(&str, String)],
    ) -> RequestBuilder<Body> {
        for (name, value) in query {
            request = request.query(name, value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        request
    }

    fn answer(
        &self,
        answered: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, Value), Failure> {
        let unreachable = |error: ureq::Error| {
            Failure::Unreachable(format!(
                "cannot ask the broker at {}: {error}; does it run, and is its admin API there?",
                self.url
            ))
        };
        let mut response = answered.map_err(unreachable)?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(unreachable)?;
        match serde_json::from_str(&text) {
            Ok(answer) => Ok((status, answer)),
            Err(_) => {
                let url = &self.url;
                Err(Failure::Unreachable(format!("what answers at {url} is not the admin API of Siskin")))
            }
        }
    }
}

fn accepted(status: u16, answer: Value) -> Result<Value, Failure> {
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let message = answer.get("message").and_then(Value::as_str).unwrap_or("without a reason");
    let hint = if status == 401 { "; give --token or --user" } else { "" };
    Err(Failure::Refused(format!("the broker says no: {message}{hint}")))
}

/// `text` as one part of a path.
pub(crate) fn part(text: &str) -> String {
    text.bytes().fold(String::new(), |mut path, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

impl Failure {
    /// The exit status that tells of it.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable(_) | Self::Refused(_) | Self::Output => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unreachable(text) | Self::Refused(text) => f.write_str(text),
            Self::Output => f.write_str("the output could not be written"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

/// Longer than the API lets a request take.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Bytes of an answer: 1000 retained messages with their payloads.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_path_has_nothing_in_it_that_ends_it() {
        assert_eq!(part("a-b_c.d~9"), "a-b_c.d~9");
        assert_eq!(part("home/+?#%é"), "home%2F%2B%3F%23%25%C3%A9");
    }
}
