//! Log lines that strangers can cause at will: one a second, with the number of those left out.

use siskin_core::Now;

/// Lets one of many equal log lines through.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Now>,
    left_out: u64,
}

impl Throttle {
    /// How many lines this one stands for, if it is to be shown now.
    pub(crate) fn pass(&mut self, now: Now) -> Option<u64> {
        self.left_out += 1;
        if self.last.is_some_and(|last| now.ms_since(last) < EVERY_MS) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// How many lines were left out, when it is time to say so.
    pub(crate) fn owed(&mut self, now: Now) -> Option<u64> {
        if self.next()? > now {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// When [`Self::owed`] is to be asked.
    pub(crate) fn next(&self) -> Option<Now> {
        (self.left_out > 0).then_some(self.last?.plus_ms(EVERY_MS))
    }
}

const EVERY_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_stands_for_all() {
        let mut throttle = Throttle::default();
        let mut pass = |at| throttle.pass(Now::from_millis(at));
        assert_eq!(pass(0), Some(1));
        assert_eq!((pass(1), pass(999)), (None, None));
        assert_eq!(pass(1000), Some(3));
    }

    #[test]
    fn what_was_left_out_last_is_owed_a_second_later() {
        let mut throttle = Throttle::default();
        let now = Now::from_millis;
        assert_eq!(throttle.pass(now(0)), Some(1));
        assert_eq!((throttle.next(), throttle.owed(now(5000))), (None, None));
        throttle.pass(now(5));
        throttle.pass(now(6));
        assert_eq!((throttle.next(), throttle.owed(now(999))), (Some(now(1000)), None));
        assert_eq!((throttle.owed(now(1000)), throttle.owed(now(3000))), (Some(2), None));
    }
}
