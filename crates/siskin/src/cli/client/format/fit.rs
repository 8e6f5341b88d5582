use std::borrow::Cow;

/// Flags and widths between `%` and the letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) is_left: bool,
    pub(super) is_zero_padded: bool,
    pub(super) width: usize,
    pub(super) max: Option<usize>,
}

impl Fit {
    pub(super) fn number<T: ToString>(self, number: Option<T>, out: &mut Vec<u8>) {
        let text = number.map_or(String::new(), |number| number.to_string());
        self.bytes(text.as_bytes(), if self.is_zero_padded { b'0' } else { b' ' }, out);
    }

    /// Widths of text are counted in characters.
    pub(super) fn text(self, text: &str, out: &mut Vec<u8>) {
        let shown: Cow<'_, str> = match self.max {
            Some(max) => text.chars().take(max).collect::<String>().into(),
            None => text.into(),
        };
        let missing = self.width.saturating_sub(shown.chars().count());
        self.padded(shown.as_bytes(), missing, b' ', out);
    }

    pub(super) fn bytes(self, bytes: &[u8], pad: u8, out: &mut Vec<u8>) {
        self.padded(bytes, self.width.saturating_sub(bytes.len()), pad, out);
    }

    fn padded(self, bytes: &[u8], missing: usize, pad: u8, out: &mut Vec<u8>) {
        if !self.is_left {
            out.resize(out.len() + missing, pad);
        }
        out.extend_from_slice(bytes);
        if self.is_left {
            out.resize(out.len() + missing, b' ');
        }
    }

    /// `.max` is the number of digits behind the point.
    pub(super) fn float(self, number: Option<f64>, out: &mut Vec<u8>) {
        let digits = self.max.unwrap_or(6);
        self.number(number.map(|number| format!("{number:.digits$}")), out);
    }

    /// `.max` is the number of bytes between two blanks.
    pub(super) fn hex(self, bytes: &[u8], digits: &[u8; 16], out: &mut Vec<u8>) {
        let group = self.max.filter(|max| *max > 0).unwrap_or(usize::MAX);
        let mut hex = Vec::with_capacity(2 * bytes.len());
        for (place, byte) in bytes.iter().enumerate() {
            if place > 0 && place % group == 0 {
                hex.push(b' ');
            }
            hex.push(digits[usize::from(byte >> 4)]);
            hex.push(digits[usize::from(byte & 0x0F)]);
        }
        self.bytes(&hex, if self.is_zero_padded { b'0' } else { b' ' }, out);
    }
}
