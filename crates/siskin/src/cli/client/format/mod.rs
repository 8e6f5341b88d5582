//! `-F`: a message as the user wants to see it.

mod envelope;
mod field;
mod fit;

use jiff::Zoned;
use jiff::fmt::strtime;

use self::field::Field;
use self::fit::Fit;
use super::failure::Failure;
use super::incoming::Message;
use super::json::Layout;

/// A format string, taken apart once.
#[derive(Debug)]
pub(crate) struct Format {
    pieces: Vec<Piece>,
    layout: Layout,
}

/// Whether a message could be shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Yes,
    /// `%J` asks for a payload that is JSON, and it is not.
    NotJson,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field(Field, Fit),
    /// A directive of strftime, with its percent sign.
    Time(String),
    Nanoseconds,
}

impl Format {
    pub(crate) fn parse(text: &str, is_pretty: bool) -> Result<Self, Failure> {
        let layout = if is_pretty { Layout::Pretty } else { Layout::Compact };
        let mut format = Self { pieces: Vec::new(), layout };
        let mut rest = text;
        while let Some(place) = rest.find(['%', '@', '\\']) {
            format.text(&rest.as_bytes()[..place]);
            let (marker, behind) = rest[place..].split_at(1);
            rest = match marker {
                "%" => format.parse_field(behind)?,
                "@" => format.parse_time(behind)?,
                _ => format.parse_escape(behind)?,
            };
        }
        format.text(rest.as_bytes());
        Ok(format)
    }

    /// Appends the message to `out`; if it cannot be shown, nothing.
    pub(crate) fn write(&self, message: &Message<'_>, now: &Zoned, out: &mut Vec<u8>) -> Shown {
        let before = out.len();
        for piece in &self.pieces {
            let mut is_shown = true;
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Field(field, fit) => {
                    is_shown = field.write(*fit, self.layout, message, now, out).is_some();
                }
                Piece::Time(directive) => write_time(directive, now, out),
                Piece::Nanoseconds => {
                    out.extend_from_slice(format!("{:09}", now.subsec_nanosecond()).as_bytes());
                }
            }
            if !is_shown {
                out.truncate(before);
                return Shown::NotJson;
            }
        }
        Shown::Yes
    }

    fn text(&mut self, text: &[u8]) {
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.extend_from_slice(text),
            _ if text.is_empty() => {}
            _ => self.pieces.push(Piece::Text(text.to_vec())),
        }
    }

    fn parse_field<'a>(&mut self, text: &'a str) -> Result<&'a str, Failure> {
        let flags = text.len() - text.trim_start_matches(['0', '-']).len();
        let (flags, rest) = text.split_at(flags);
        let (width, rest) = split_number(rest)?;
        let (max, rest) = match rest.strip_prefix('.') {
            Some(rest) => {
                let (max, rest) = split_number(rest)?;
                (Some(max.unwrap_or(0)), rest)
            }
            None => (None, rest),
        };
        let is_left = flags.contains('-');
        let is_zero_padded = flags.contains('0') && !is_left;
        let fit = Fit { is_left, is_zero_padded, width: width.unwrap_or(0), max };
        let mut letters = rest.chars();
        match letters.next() {
            None => return Err(Failure::usage("Error: Incomplete format specifier.")),
            Some('%') => self.text(b"%"),
            Some(letter) => match Field::from_letter(letter) {
                Some(field) => self.pieces.push(Piece::Field(field, fit)),
                None => return Err(Failure::usage(format!("Error: Invalid format specifier '{letter}'."))),
            },
        }
        Ok(letters.as_str())
    }

    fn parse_time<'a>(&mut self, text: &'a str) -> Result<&'a str, Failure> {
        let mut letters = text.chars();
        match letters.next() {
            None => return Err(Failure::usage("Error: Incomplete format specifier.")),
            Some('@') => self.text(b"@"),
            Some('N') => self.pieces.push(Piece::Nanoseconds),
            Some(letter) => {
                let directive = format!("%{letter}");
                if strtime::format(&directive, &Zoned::now()).is_err() {
                    return Err(Failure::usage(format!("Error: Invalid time specifier '@{letter}'.")));
                }
                self.pieces.push(Piece::Time(directive));
            }
        }
        Ok(letters.as_str())
    }

    fn parse_escape<'a>(&mut self, text: &'a str) -> Result<&'a str, Failure> {
        let mut letters = text.chars();
        let byte = match letters.next() {
            None => return Err(Failure::usage("Error: Incomplete escape specifier.")),
            Some('\\') => b'\\',
            Some('0') => 0,
            Some('a') => 0x07,
            Some('e') => 0x1B,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0B,
            Some(letter) => {
                return Err(Failure::usage(format!("Error: Invalid escape specifier '{letter}'.")));
            }
        };
        self.text(&[byte]);
        Ok(letters.as_str())
    }
}

fn write_time(directives: &str, now: &Zoned, out: &mut Vec<u8>) {
    // Each directive was tried when the format was parsed.
    if let Ok(time) = strtime::format(directives, now) {
        out.extend_from_slice(time.as_bytes());
    }
}

/// The number at the front of `text`, if there is one.
fn split_number(text: &str) -> Result<(Option<usize>, &str), Failure> {
    let len = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (digits, rest) = text.split_at(len);
    match digits.parse() {
        _ if digits.is_empty() => Ok((None, rest)),
        Ok(number) if number <= WIDTH_MAX => Ok((Some(number), rest)),
        _ => Err(Failure::usage(format!("Error: Widths in a format are at most {WIDTH_MAX}."))),
    }
}

const WIDTH_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use siskin_proto::{PacketId, PropertiesBuf, Property, Qos};

    use super::*;

    fn properties() -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        for property in [
            Property::ContentType("text/plain"),
            Property::CorrelationData(b"c\"1"),
            Property::MessageExpiryInterval(500),
            Property::PayloadFormatIndicator(1),
            Property::ResponseTopic("re/sp"),
            Property::SubscriptionIdentifier(77),
            Property::UserProperty(("k1", "v1")),
            Property::UserProperty(("k2", "v2")),
        ] {
            properties.push(property);
        }
        properties
    }

    fn now() -> Zoned {
        "2024-02-29T23:04:05.000678912+02:00[+02:00]".parse().unwrap()
    }

    fn shown_of(format: &str, payload: &[u8], properties: &PropertiesBuf) -> Option<String> {
        let message = Message {
            topic: "föo/bar".into(),
            payload,
            qos: Qos::AtLeastOnce,
            retain: true,
            packet_id: PacketId::new(9),
            properties: properties.as_properties(),
        };
        let mut out = Vec::new();
        match Format::parse(format, false).unwrap().write(&message, &now(), &mut out) {
            Shown::Yes => Some(String::from_utf8(out).unwrap()),
            Shown::NotJson => {
                assert!(out.is_empty());
                None
            }
        }
    }

    fn shown(format: &str) -> String {
        shown_of(format, b"hello", &properties()).unwrap()
    }

    #[test]
    fn every_letter_stands_for_its_field() {
        for (format, expected) in [
            ("%%", "%"),
            ("%A", ""),
            ("%C", "text/plain"),
            ("%D", "c\"1"),
            ("%E", "500"),
            ("%F", "1"),
            ("%I", "2024-02-29T23:04:05+0200"),
            ("%l", "5"),
            ("%m", "9"),
            ("%P", "k1:v1 k2:v2"),
            ("%p", "hello"),
            ("%q", "1"),
            ("%R", "re/sp"),
            ("%r", "1"),
            ("%S", "77"),
            ("%t", "föo/bar"),
            ("%U", "1709240645.000678912"),
            ("%x", "68656c6c6f"),
            ("%X", "68656C6C6F"),
            ("@Y-@m-@d @H:@M:@S.@N@@", "2024-02-29 23:04:05.000678912@"),
            ("\\0\\a\\e\\n\\r\\t\\v\\\\", "\0\x07\x1b\n\r\t\x0b\\"),
            ("%t: %p (%q)\\n", "föo/bar: hello (1)\n"),
        ] {
            assert_eq!(shown(format), expected, "{format}");
        }
    }

    #[test]
    fn widths_and_flags_fit_a_field_into_its_column() {
        for (format, expected) in [
            ("%10l|", "         5|"),
            ("%-10l|", "5         |"),
            ("%05m|", "00009|"),
            ("%-05m|", "9    |"),
            ("%9t|", "  föo/bar|"),
            ("%-9t|", "föo/bar  |"),
            ("%.2t|", "fö|"),
            ("%5.2t|", "   fö|"),
            ("%-5.2t|", "fö   |"),
            ("%.1I", "2"),
            ("%3A|", "   |"),
            ("%7p|", "  hello|"),
            ("%2p|", "hello|"),
            ("%.2x", "6865 6c6c 6f"),
            ("%.1X", "68 65 6C 6C 6F"),
            ("%012x", "0068656c6c6f"),
            ("%5q|", "1|"),
            ("%5%|", "%|"),
        ] {
            assert_eq!(shown(format), expected, "{format}");
        }
    }

    #[test]
    fn four_and_eight_bytes_can_be_shown_as_numbers() {
        let none = PropertiesBuf::new();
        assert_eq!(shown_of("%d", &1.5_f64.to_le_bytes(), &none).unwrap(), "1.500000");
        assert_eq!(shown_of("%.2d", &(-1.5_f64).to_le_bytes(), &none).unwrap(), "-1.50");
        assert_eq!(shown_of("%8.1f|", &2.25_f32.to_le_bytes(), &none).unwrap(), "     2.2|");
        assert_eq!(shown_of("%f|", b"hello", &none).unwrap(), "|");
    }

    #[test]
    fn json_holds_everything_about_a_message() {
        let expected = concat!(
            r#"{"tst":"2024-02-29T23:04:05.000678+0200","topic":"föo/bar","qos":1,"retain":1,"payloadlen":5,"mid":9,"#,
            r#""properties":{"content-type":"text/plain","correlation-data":"c\"1","message-expiry-interval":500,"#,
            r#""payload-format-indicator":1,"response-topic":"re/sp","subscription-identifier":77,"#,
            r#""user-properties":{"k1":"v1","k2":"v2"}},"payload":"hello"}"#
        );
        assert_eq!(shown("%j"), expected);
    }

    #[test]
    fn json_embeds_a_payload_that_is_json_and_refuses_another() {
        let none = PropertiesBuf::new();
        let json = shown_of("%J", b" {\"a\": [1,\n2.50]}", &none).unwrap();
        assert!(json.ends_with(r#""payload":{"a":[1,2.50]}}"#), "{json}");
        assert_eq!(shown_of("before %J", b"hello", &none), None);
        assert_eq!(shown_of("%J", b"\xFF", &none), None);
        assert!(shown_of("%j", b"\xFF\0", &none).unwrap().ends_with("\"payload\":\"\u{fffd}\\u0000\"}"));
    }

    #[test]
    fn several_subscription_identifiers_are_a_list() {
        let mut properties = PropertiesBuf::new();
        properties.push(Property::SubscriptionIdentifier(1));
        properties.push(Property::SubscriptionIdentifier(2));
        assert!(shown_of("%j", b"", &properties).unwrap().contains(r#"{"subscription-identifier":[1,2]}"#));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_before_anything_is_printed() {
        for format in ["%z", "a%", "%5", "%.", "@", "\\", "\\q", "%99999999999999999999t", "%20000t"] {
            assert!(Format::parse(format, false).is_err(), "{format}");
        }
    }
}
