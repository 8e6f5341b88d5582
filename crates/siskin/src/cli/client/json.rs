//! JSON text: strings escaped, and whole documents checked and laid out anew. Numbers keep their digits.

/// How a document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// On one line without blanks.
    Compact,
    /// Members on lines of their own, indented by tabs.
    Pretty,
}

/// Appends `text` as a JSON string.
pub(crate) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (place, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0C => b"\\f",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..place]);
        plain = place + 1;
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Appends the JSON document `text` in another layout. None if it is no JSON; then `out` is as before.
pub(super) fn lay_out(text: &str, layout: Layout, out: &mut Vec<u8>) -> Option<()> {
    let before = out.len();
    let done = Reader { rest: text.as_bytes(), layout, open: Vec::new(), out }.document();
    if done.is_none() {
        out.truncate(before);
    }
    done
}

struct Reader<'a> {
    rest: &'a [u8],
    layout: Layout,
    /// The closing brackets that must come, innermost last.
    open: Vec<u8>,
    out: &'a mut Vec<u8>,
}

impl Reader<'_> {
    /// Goes through values without recursion: how deep they nest is the sender's choice.
    fn document(&mut self) -> Option<()> {
        loop {
            self.skip_blanks();
            match *self.rest.first()? {
                opening @ (b'{' | b'[') => {
                    self.rest = &self.rest[1..];
                    self.out.push(opening);
                    self.open.push(if opening == b'{' { b'}' } else { b']' });
                    if !self.close_if_empty() {
                        self.begin_member()?;
                        continue;
                    }
                }
                b'"' => self.copy_string()?,
                b'-' | b'0'..=b'9' => self.copy_number()?,
                _ => self.copy_word()?,
            }
            if !self.go_on()? {
                return Some(());
            }
        }
    }

    /// Behind a value: closes what ends here. True if another value follows.
    fn go_on(&mut self) -> Option<bool> {
        loop {
            self.skip_blanks();
            let Some(&closing) = self.open.last() else {
                return self.rest.is_empty().then_some(false);
            };
            let (&next, rest) = self.rest.split_first()?;
            self.rest = rest;
            if next == closing {
                self.open.pop();
                if closing == b'}' {
                    self.break_line();
                }
                self.out.push(closing);
            } else if next == b',' {
                self.out.push(b',');
                if closing == b']' && self.layout == Layout::Pretty {
                    self.out.push(b' ');
                }
                self.begin_member()?;
                return Some(true);
            } else {
                return None;
            }
        }
    }

    /// In front of an element of an array there is nothing, in front of one of an object its key.
    fn begin_member(&mut self) -> Option<()> {
        if self.open.last() == Some(&b'}') {
            self.break_line();
            self.skip_blanks();
            self.copy_string()?;
            self.skip_blanks();
            self.rest = self.rest.strip_prefix(b":")?;
            self.out.extend_from_slice(if self.layout == Layout::Pretty { b":\t" } else { b":" });
        }
        Some(())
    }

    fn close_if_empty(&mut self) -> bool {
        self.skip_blanks();
        if self.rest.first() != self.open.last() {
            return false;
        }
        self.rest = &self.rest[1..];
        self.out.extend(self.open.pop());
        true
    }

    fn break_line(&mut self) {
        if self.layout == Layout::Pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.open.len(), b'\t');
        }
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.rest = &self.rest[blanks..];
    }

    fn copy(&mut self, len: usize) {
        let (token, rest) = self.rest.split_at(len);
        self.out.extend_from_slice(token);
        self.rest = rest;
    }

    fn copy_string(&mut self) -> Option<()> {
        let body = self.rest.strip_prefix(b"\"")?;
        let mut place = 0;
        loop {
            match *body.get(place)? {
                b'"' => break,
                b'\\' => match *body.get(place + 1)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => place += 2,
                    b'u' if body.get(place + 2..place + 6)?.iter().all(u8::is_ascii_hexdigit) => place += 6,
                    _ => return None,
                },
                0..0x20 => return None,
                _ => place += 1,
            }
        }
        self.copy(place + 2);
        Some(())
    }

    fn copy_number(&mut self) -> Option<()> {
        let text = self.rest;
        let mut place = usize::from(text[0] == b'-');
        let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let whole = digits(place);
        if whole == 0 || (whole > 1 && text[place] == b'0') {
            return None;
        }
        place += whole;
        if text.get(place) == Some(&b'.') {
            let fraction = digits(place + 1);
            if fraction == 0 {
                return None;
            }
            place += 1 + fraction;
        }
        if matches!(text.get(place), Some(b'e' | b'E')) {
            place += 1 + usize::from(matches!(text.get(place + 1), Some(b'+' | b'-')));
            let exponent = digits(place);
            if exponent == 0 {
                return None;
            }
            place += exponent;
        }
        self.copy(place);
        Some(())
    }

    fn copy_word(&mut self) -> Option<()> {
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| self.rest.starts_with(word))?;
        self.copy(word.len());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact(text: &str) -> Option<String> {
        let mut out = Vec::new();
        lay_out(text, Layout::Compact, &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_string_escapes_what_must_not_stand_in_it() {
        let mut out = Vec::new();
        string("a\"b\\c\n\r\t\u{8}\u{c}\u{0}\u{1f}é/", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#""a\"b\\c\n\r\t\b\f\u0000\u001fé/""#);
    }

    #[test]
    fn blanks_go_and_digits_stay() {
        let text = " { \"a\" : [ 1 , 2.50 , -0.0e+10 , { } , [ ] ] ,\n\"b\":\t\"x \\u00e9 \\\" y\" , \"c\" : null } ";
        let expected = r#"{"a":[1,2.50,-0.0e+10,{},[]],"b":"x \u00e9 \" y","c":null}"#;
        assert_eq!(compact(text).as_deref(), Some(expected));
    }

    #[test]
    fn any_value_is_a_document() {
        for text in ["1", "-1.5E3", "true", "false", "null", "\"\"", "[]", "{}", "0"] {
            assert_eq!(compact(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_json_leaves_nothing_behind() {
        for text in [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "1 2",
            "01",
            "1.",
            ".5",
            "1e",
            "-",
            "+1",
            "\"a",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "tru",
            "nulls",
            "]",
            "[] []",
            "'a'",
        ] {
            assert_eq!(compact(text), None, "{text:?}");
        }
        let mut out = b"kept".to_vec();
        assert_eq!(lay_out("[1, 2, x]", Layout::Compact, &mut out), None);
        assert_eq!(out, b"kept");
    }

    #[test]
    fn pretty_puts_members_on_lines_and_elements_side_by_side() {
        let mut out = Vec::new();
        lay_out(r#"{"a":[1,2,{"b":{}}],"c":{"d":true}}"#, Layout::Pretty, &mut out).unwrap();
        let expected =
            "{\n\t\"a\":\t[1, 2, {\n\t\t\t\"b\":\t{}\n\t\t}],\n\t\"c\":\t{\n\t\t\"d\":\ttrue\n\t}\n}";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn nesting_costs_no_stack() {
        let depth = 1_000_000;
        let text = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(compact(&text).map(|out| out.len()), Some(2 * depth));
    }
}
