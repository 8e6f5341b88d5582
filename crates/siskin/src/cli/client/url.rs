//! `-L`: server, user and topic in one.

use super::failure::Failure;

/// The parts of `mqtt://user:password@host:port/topic` that were given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) topic: Option<String>,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let rest = match text.split_once("://") {
            Some(("mqtt", rest)) => rest,
            Some((scheme @ ("mqtts" | "ws" | "wss"), _)) => {
                return Err(wrong(text, &format!("{scheme} is not offered yet, only mqtt")));
            }
            _ => return Err(wrong(text, "it must begin with mqtt://")),
        };
        // The topic may hold any character, so it is cut off first and kept as it stands.
        let (authority, topic) = match rest.split_once('/') {
            Some((authority, topic)) => (authority, Some(topic).filter(|topic| !topic.is_empty())),
            None => (rest, None),
        };
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (user_name, password) = match user.map(|user| user.split_once(':').ok_or(user)) {
            None => (None, None),
            Some(Err(user_name)) => (Some(decoded(user_name)), None),
            Some(Ok((user_name, password))) => (Some(decoded(user_name)), Some(decoded(password))),
        };
        let (host, port) = split_address(address).ok_or_else(|| wrong(text, "the port is not a number"))?;
        if host.is_empty() {
            return Err(wrong(text, "there is no host in it"));
        }
        Ok(Self { user_name, password, host: host.into(), port, topic: topic.map(Into::into) })
    }
}

/// Host and port; the colons of an IPv6 address stand in brackets.
fn split_address(address: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}

/// User name and password may need characters that mean something in a URL: `%40` is `@`. What is no such
/// escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = match behind {
            [high, low, ..] if first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            rest = &behind[2..];
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.into())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

fn wrong(url: &str, what: &str) -> Failure {
    Failure::usage(format!("Error: Invalid URL '{url}': {what}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_url_has_five_parts() {
        let url = Url::parse("mqtt://anna:secret@broker.example:1884/home/+/temperature").unwrap();
        assert_eq!(url.user_name.as_deref(), Some("anna"));
        assert_eq!(url.password.as_deref(), Some("secret"));
        assert_eq!((url.host.as_str(), url.port), ("broker.example", Some(1884)));
        assert_eq!(url.topic.as_deref(), Some("home/+/temperature"));
    }

    #[test]
    fn only_the_host_is_needed() {
        for text in ["mqtt://broker", "mqtt://broker/"] {
            assert_eq!(Url::parse(text).unwrap(), Url { host: "broker".into(), ..Url::default() });
        }
    }

    #[test]
    fn user_and_password_may_be_escaped_but_the_topic_stands_as_it_is() {
        let url = Url::parse("mqtt://a%40b:p%2Fw%@host/50%25/x").unwrap();
        assert_eq!(url.user_name.as_deref(), Some("a@b"));
        assert_eq!(url.password.as_deref(), Some("p/w%"));
        assert_eq!(url.topic.as_deref(), Some("50%25/x"));
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let url = Url::parse("mqtt://[::1]:1885/t").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", Some(1885)));
        assert_eq!(Url::parse("mqtt://[fe80::1]").unwrap().host, "fe80::1");
    }

    #[test]
    fn what_is_no_url_of_ours_is_refused() {
        for text in [
            "broker",
            "http://broker",
            "mqtts://broker",
            "mqtt://",
            "mqtt://h:x",
            "mqtt://h:0",
            "mqtt://[::1]x",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
