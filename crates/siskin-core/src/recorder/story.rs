//! A client's story in sentences.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::entry::{By, Closed, Entry, What};
use super::origin::Origin;
use crate::event::Ended;
use crate::limits::Limits;
use crate::time::Now;
use crate::view::{ClientView, ConnectionView};

/// What is known of one client.
#[derive(Clone, Debug)]
pub struct Story {
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its session, if it has one.
    pub present: Option<ClientView>,
    /// What happened, oldest first.
    pub entries: Vec<Entry<'static>>,
}

/// When and where a story is told.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The present.
    pub now: Now,
    /// Seconds by which the local time is ahead of UTC.
    pub utc_offset_s: i32,
}

impl Story {
    /// Whether the client is connected and, where something is known, why or why not.
    pub fn headline(&self, clock: Clock) -> String {
        let id = Quoted(&self.client_id);
        let Some(present) = &self.present else {
            return match self.last_end() {
                None => format!("{id} was never connected, as far as is remembered."),
                Some((at, why)) => {
                    format!("{id} has no session. It was last connected until {}: {why}.", clock.moment(at))
                }
            };
        };
        let mut text = match &present.connection {
            Some(connection) => {
                format!(
                    "{id} is connected since {} from {}",
                    clock.moment(connection.since),
                    connection.origin
                )
            }
            None => match self.last_end() {
                Some((at, why)) => format!("{id} is not connected since {}: {why}", clock.moment(at)),
                None => format!("{id} is not connected"),
            },
        };
        text.push_str(". ");
        text.push_str(&state(present, clock));
        text
    }

    /// What the entries taken together come to, where that is more than each of them.
    pub fn findings(&self, limits: &Limits) -> Vec<String> {
        let mut findings = Vec::new();
        findings.extend(self.take_over_loop());
        findings.extend(self.silences());
        if let Some(present) = &self.present {
            findings.extend(congestion(present, limits));
        }
        findings
    }

    /// One line for each thing that happened, with its time.
    pub fn lines(&self, clock: Clock) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut before: Option<&Entry<'_>> = None;
        for entry in &self.entries {
            let is_will = matches!(entry.what, What::WillPublished { .. });
            let follows = before.is_some_and(|before| {
                matches!(before.what, What::Disconnected(_)) && entry.at.ms_since(before.at) <= AT_ONCE_MS
            });
            match lines.last_mut() {
                Some(line) if is_will && follows => {
                    let _ = write!(line, "; {}", entry.what);
                }
                _ => lines.push(line(entry, clock)),
            }
            before = Some(entry);
        }
        lines
    }

    /// The whole story as a page of text.
    pub fn tell(&self, clock: Clock, limits: &Limits) -> String {
        let mut text = self.headline(clock);
        for finding in self.findings(limits) {
            let _ = write!(text, "\n! {finding}");
        }
        if !self.entries.is_empty() {
            text.push('\n');
        }
        for line in self.lines(clock) {
            text.push('\n');
            text.push_str(&line);
        }
        text.push('\n');
        text
    }

    /// When the last connection ended, and why.
    fn last_end(&self) -> Option<(Now, String)> {
        self.entries.iter().rev().find_map(|entry| match &entry.what {
            What::Disconnected(closed) => Some((entry.at, closed.to_string())),
            What::Restored { .. } => Some((entry.at, "the broker was started again".to_owned())),
            _ => None,
        })
    }

    /// Two clients with one id: each that comes throws the other out, which comes back.
    fn take_over_loop(&self) -> Option<String> {
        let last = self.entries.last()?.at;
        let mut origins: Vec<Origin> = Vec::new();
        let (mut count, mut since) = (0_u32, last);
        for entry in self.entries.iter().filter(|entry| last.ms_since(entry.at) <= LOOP_MS) {
            if let What::Connected { took_over: Some(before), origin, .. } = &entry.what {
                since = if count == 0 { entry.at } else { since };
                count += 1;
                for end in [before, origin] {
                    if !origins.iter().any(|known| known.ip() == end.ip()) {
                        origins.push(*end);
                    }
                }
            }
        }
        if count < LOOP_MIN {
            return None;
        }
        let span = Span(last.ms_since(since));
        let times = format!("{count} times in {span}");
        Some(match &origins[..] {
            [one] => format!(
                "It connected {times} while its connection before was still there, always from {}: either it does not \
                 close what it leaves, or several clients there use this client id.",
                Host(*one)
            ),
            several => {
                let names: Vec<_> =
                    several.iter().take(ORIGINS_TOLD).map(|one| Host(*one).to_string()).collect();
                let others = if several.len() > ORIGINS_TOLD { ", and others" } else { "" };
                format!(
                    "Several clients use this client id and take the session from each other: {times}, from {}{others}. \
                     Give each its own.",
                    names.join(", ")
                )
            }
        })
    }

    fn silences(&self) -> Option<String> {
        let is_silence = |entry: &&Entry<'_>| match &entry.what {
            What::Disconnected(closed) => closed.kind == super::ClosedKind::KeepAlive,
            _ => false,
        };
        let count = self.entries.iter().filter(is_silence).count();
        (count >= 2).then(|| {
            format!(
                "It was cut off {count} times because nothing came within its keep alive: it stops sending, or the \
                 network between loses it."
            )
        })
    }
}

/// What the session is like.
fn state(present: &ClientView, clock: Clock) -> String {
    let mut text = String::new();
    if let Some(connection) = &present.connection {
        let ConnectionView { keep_alive_s, last_packet_at, messages_received, messages_sent, .. } =
            connection;
        let _ = write!(text, "MQTT {}, {}", present.version, KeepAlive(*keep_alive_s));
        let _ = write!(text, ", last heard of {}. ", clock.ago(*last_packet_at));
        let _ = write!(
            text,
            "It sent {} and was sent {}. ",
            plural(*messages_received, "message"),
            plural(*messages_sent, "message")
        );
    } else {
        let _ = match present.expires_at {
            Some(at) => write!(text, "Its session ends {}. ", clock.moment(at)),
            None => write!(text, "Its session does not expire. "),
        };
    }
    let subscriptions = plural(present.subscriptions as u64, "subscription");
    let waiting = plural(present.queue_messages as u64, "message");
    let _ = write!(text, "{subscriptions}; {waiting} ({} bytes) in its queue", present.queue_bytes);
    let _ = write!(text, ", {} sent and not acknowledged", present.inflight);
    if let Some(connection) = &present.connection {
        let _ = write!(text, " of at most {}", connection.window);
    }
    let dropped: u64 = present.dropped.iter().sum();
    if dropped > 0 {
        let _ = write!(text, "; {} dropped", plural(dropped, "message"));
    }
    text.push('.');
    text
}

/// What keeps messages from a client that is there.
fn congestion(present: &ClientView, limits: &Limits) -> Option<String> {
    let connection = present.connection.as_ref()?;
    if connection.out_buffer_bytes >= limits.out_buffer_bytes_max {
        return Some(format!(
            "It does not take its bytes: {} wait for its connection. QoS 0 is dropped, QoS 1 and 2 wait.",
            connection.out_buffer_bytes
        ));
    }
    if present.queue_messages > 0 && present.inflight >= usize::from(connection.window) {
        return Some(format!(
            "It has not acknowledged {}, as many as may be on their way at once: the others wait.",
            plural(present.inflight as u64, "message")
        ));
    }
    None
}

fn line(entry: &Entry<'_>, clock: Clock) -> String {
    let mut text = clock.moment(entry.at);
    if entry.until > entry.at {
        let _ = write!(text, " to {}", clock.time(entry.until));
    }
    let _ = write!(text, "  {entry}");
    text
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, what, .. } = self;
        match what {
            What::Forgotten => write!(f, "({} before this are forgotten)", plural(*count, "event")),
            What::Dropped { topic, why } if *count > 1 => {
                write!(f, "{} dropped, the first on {}: {why}", plural(*count, "message"), Quoted(topic))
            }
            What::SafeLate { ms_max } if *count > 1 => {
                let span = Span(*ms_max);
                write!(f, "{} waited up to {span} to be safe in the store", plural(*count, "acknowledgement"))
            }
            What::AcknowledgedLate { ms_max } if *count > 1 => {
                let span = Span(*ms_max);
                write!(
                    f,
                    "the client acknowledged {} up to {span} after they had arrived",
                    plural(*count, "message")
                )
            }
            What::Subscribed { .. } | What::Unsubscribed { .. } if *count > 1 => {
                write!(f, "{what}, and {} before it", plural(*count - 1, "more filter"))
            }
            _ if *count > 1 => write!(f, "{what} ({count} times)"),
            _ => what.fmt(f),
        }
    }
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forgotten => f.write_str("older events are forgotten"),
            Self::Connected { .. } => connected(self, f),
            Self::Refused { origin, why } => {
                write!(f, "a connection from {origin} was not accepted: {}", Plain(why))
            }
            Self::Disconnected(closed) => closed.fmt(f),
            Self::Subscribed { filter, asked, answer } if answer.is_error() => {
                write!(
                    f,
                    "was refused the subscription to {} at QoS {}: {answer}",
                    Quoted(filter),
                    *asked as u8
                )
            }
            Self::Subscribed { filter, asked, answer } => {
                write!(f, "subscribed to {} at QoS {}", Quoted(filter), *answer as u8)?;
                match *asked as u8 == *answer as u8 {
                    true => Ok(()),
                    false => write!(f, " (asked for {})", *asked as u8),
                }
            }
            Self::Unsubscribed { filter, existed: true } => write!(f, "unsubscribed from {}", Quoted(filter)),
            Self::Unsubscribed { filter, existed: false } => {
                write!(f, "unsubscribed from {}, to which it had no subscription", Quoted(filter))
            }
            Self::Denied { verb, topic, because } => {
                write!(f, "may not {verb} {}: {}", Quoted(topic), Plain(because))
            }
            Self::Dropped { topic, why } => write!(f, "a message on {} was dropped: {why}", Quoted(topic)),
            Self::SafeLate { ms_max } => {
                write!(f, "an acknowledgement waited {} to be safe in the store", Span(*ms_max))
            }
            Self::AcknowledgedLate { ms_max } => {
                write!(f, "the client acknowledged a message {} after it had arrived", Span(*ms_max))
            }
            Self::WillPublished { topic, receivers } => {
                let receivers = plural(u64::from(*receivers), "subscriber");
                write!(f, "will published on {} to {receivers}", Quoted(topic))
            }
            Self::WillWithdrawn => f.write_str("will withdrawn"),
            Self::SessionEnded { why, lost } => {
                f.write_str(match why {
                    Ended::Expired => "its session ended: its time was over",
                    Ended::CleanStart => "its session was discarded: the client began a new one",
                })?;
                match lost {
                    0 => Ok(()),
                    lost => write!(f, "; {} with it", plural(u64::from(*lost), "message")),
                }
            }
            Self::Restored { waiting } => {
                let waiting = plural(u64::from(*waiting), "message");
                write!(f, "the broker was started; the session was in the store, with {waiting} waiting")
            }
        }
    }
}

fn connected(what: &What<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let What::Connected {
        origin,
        version,
        clean_start,
        session_present,
        keep_alive_asked_s,
        keep_alive_s,
        expiry_s,
        receive_maximum,
        waiting,
        took_over,
    } = what
    else {
        return Ok(());
    };
    write!(f, "connected from {origin} (MQTT {version}")?;
    if *clean_start {
        f.write_str(", clean start")?;
    }
    write!(f, ", {}", KeepAlive(*keep_alive_s))?;
    if keep_alive_asked_s != keep_alive_s {
        write!(f, " instead of the {keep_alive_asked_s} s asked for")?;
    }
    match *expiry_s {
        0 => {}
        u32::MAX => f.write_str(", session for ever")?,
        expiry_s => write!(f, ", session for {}", Span(u64::from(expiry_s) * 1000))?,
    }
    if *receive_maximum < u16::MAX {
        write!(f, ", at most {receive_maximum} unacknowledged")?;
    }
    f.write_str(")")?;
    if let Some(before) = took_over {
        write!(f, ", taking over from {before}")?;
    }
    match session_present {
        true => write!(f, "; session resumed with {} waiting", plural(u64::from(*waiting), "message")),
        false => f.write_str("; new session"),
    }
}

impl fmt::Display for Closed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = self.by_origin {
            return write!(f, "taken over: the same client id connected from {origin}");
        }
        let why = Plain(&self.why);
        match self.by() {
            // Its words say who did it.
            By::Client | By::Network => why.fmt(f),
            By::Broker => write!(f, "disconnected by the broker: {why}"),
        }
    }
}

impl Clock {
    /// A moment with its distance from the present: `12:03:07 (5 min ago)`, with the date if it is another day.
    pub fn moment(self, at: Now) -> String {
        format!("{} ({})", self.time(at), self.ago(at))
    }

    fn time(self, at: Now) -> String {
        let (day, seconds) = self.local(at);
        let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        if day == self.local(self.now).0 {
            return time;
        }
        let (year, month, day) = civil(day);
        format!("{year}-{month:02}-{day:02} {time}")
    }

    fn ago(self, at: Now) -> String {
        match (self.now.ms_since(at), at.ms_since(self.now)) {
            (0, 0) => "just now".to_owned(),
            (past, 0) => format!("{} ago", Span(past)),
            (_, future) => format!("in {}", Span(future)),
        }
    }

    /// Days since 1970 and seconds of the day, in local time.
    fn local(self, at: Now) -> (i64, i64) {
        let seconds = (at.as_millis() / 1000) as i64 + i64::from(self.utc_offset_s);
        (seconds.div_euclid(86_400), seconds.rem_euclid(86_400))
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar: years begin in March, so that
/// the day that some of them lack is their last.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let month_of_ours = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month_of_ours <= 2), month_of_ours, of_year - (153 * month + 2) / 5 + 1)
}

/// A length of time in its two largest units at most.
pub(crate) struct Span(pub(crate) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        let (rest_s, rest_min) = (seconds % 60, minutes % 60);
        match seconds {
            0 => write!(f, "{} ms", self.0),
            1..60 => write!(f, "{seconds} s"),
            60..600 if rest_s > 0 => write!(f, "{minutes} min {rest_s} s"),
            60..3_600 => write!(f, "{minutes} min"),
            3_600..86_400 if rest_min > 0 => write!(f, "{hours} h {rest_min} min"),
            3_600..259_200 => write!(f, "{hours} h"),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

/// An address without its port.
struct Host(Origin);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip() {
            Some(ip) => ip.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

struct KeepAlive(u16);

impl fmt::Display for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no keep alive"),
            seconds => write!(f, "keep alive {seconds} s"),
        }
    }
}

/// Text of a client between quotation marks, with nothing in it that could steer a terminal or pass for another line.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", Plain(self.0))
    }
}

/// The same without the marks.
pub(crate) struct Plain<'a>(pub(crate) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character.is_control() {
                true => write!(f, "{}", character.escape_default())?,
                false => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

pub(crate) fn plural(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What follows within this time belongs to what went before.
const AT_ONCE_MS: u64 = 10;

/// The time in which so many take-overs are no accident.
const LOOP_MS: u64 = 600_000;
const LOOP_MIN: u32 = 3;

/// Addresses that are named in one sentence.
const ORIGINS_TOLD: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_local_time_and_with_the_date_if_it_is_not_today() {
        // 2026-11-23 03:45:34 UTC
        let now = Now::from_millis(1_795_405_534_000);
        let clock = |utc_offset_s| Clock { now, utc_offset_s };
        let before = |ms| Now::from_millis(now.as_millis() - ms);
        assert_eq!(clock(0).moment(now), "03:45:34 (just now)");
        assert_eq!(clock(3600).moment(before(90_500)), "04:44:03 (1 min 30 s ago)");
        assert_eq!(clock(-4 * 3600).moment(before(86_400_000)), "2026-11-21 23:45:34 (24 h ago)");
        assert_eq!(clock(0).moment(now.plus_s(7200)), "05:45:34 (in 2 h)");
    }

    #[test]
    fn take_overs_from_one_address_may_be_those_of_a_single_client() {
        let entry = |at: u64, from: &str, before: &str| {
            let origin = |text: &str| Origin::from(text.parse::<std::net::SocketAddr>().unwrap());
            let what = What::Connected {
                origin: origin(from),
                version: siskin_proto::Version::V5,
                clean_start: true,
                session_present: false,
                keep_alive_asked_s: 0,
                keep_alive_s: 0,
                expiry_s: 0,
                receive_maximum: 1,
                waiting: 0,
                took_over: Some(origin(before)),
            };
            Entry::new(Now::from_millis(at), what)
        };
        let finding = |entries: &[Entry<'static>]| {
            let story = Story { client_id: "c".into(), present: None, entries: entries.to_vec() };
            story.findings(&Limits::default()).concat()
        };
        let same = [1_000, 2_000, 3_000].map(|at| entry(at, "10.0.0.1:2", "10.0.0.1:1"));
        assert!(finding(&same).starts_with("It connected 3 times in 2 s while"), "{}", finding(&same));
        assert!(finding(&same[..2]).is_empty());
        let two = [1_000, 2_000, 3_000].map(|at| entry(at, "10.0.0.1:2", "10.0.0.2:1"));
        assert!(finding(&two).contains("3 times in 2 s, from 10.0.0.2, 10.0.0.1. Give"), "{}", finding(&two));
        let slow = [1_000, 2_000, 700_000].map(|at| entry(at, "10.0.0.1:2", "10.0.0.2:1"));
        assert!(finding(&slow).is_empty());
    }

    #[test]
    fn days_have_their_dates() {
        let dates = [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_453, (2025, 12, 31)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ];
        for (day, date) in dates {
            assert_eq!(civil(day), date);
        }
    }

    #[test]
    fn spans_are_told_in_few_words() {
        let spans = [
            (5, "5 ms"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (61_000, "1 min 1 s"),
            (601_000, "10 min"),
            (3_600_000, "1 h"),
            (5_400_000, "1 h 30 min"),
            (2 * 86_400_000 + 3_600_000, "49 h"),
            (30 * 86_400_000, "30 days"),
        ];
        for (ms, text) in spans {
            assert_eq!(Span(ms).to_string(), text);
        }
    }

    #[test]
    fn a_client_cannot_steer_a_terminal_with_its_words() {
        let what = What::Unsubscribed { filter: "a\u{1b}[2J\nb".into(), existed: true };
        assert_eq!(what.to_string(), "unsubscribed from 'a\\u{1b}[2J\\nb'");
    }
}
