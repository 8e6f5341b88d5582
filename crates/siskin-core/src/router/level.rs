//! The text of one topic level.

/// The text of one topic level, without an allocation of its own unless it is long: most are short, and a
/// heap block with its header would take more than the text.
pub(super) enum Level {
    Short { length: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<str>),
}

const SHORT_MAX: usize = 22;

const _: () = assert!(size_of::<Level>() == SHORT_MAX + 2);

impl Level {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text.as_bytes());
                Self::Short { length: text.len() as u8, bytes }
            }
            None => Self::Long(text.into()),
        }
    }

    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Short { length, bytes } => bytes[..usize::from(*length)] == *text.as_bytes(),
            Self::Long(long) => **long == *text,
        }
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::new("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_its_own_text_and_no_other_whatever_its_length() {
        let texts: Vec<_> = (0..50).map(|length| "é".repeat(length) + "x").chain(["".into()]).collect();
        for one in &texts {
            for other in &texts {
                assert_eq!(Level::new(one).is(other), one == other);
            }
        }
        assert!(!Level::new("a").is("a\0"));
    }
}
