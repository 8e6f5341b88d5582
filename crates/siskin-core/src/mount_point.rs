//! A part of the topic tree that a client takes for the whole.
//!
//! A mount point stands in front of every topic name and filter that its client sends, and is taken off what the
//! client receives: whoever comes in by `mount_point = "plant/7/"` publishes `plant/7/a` by saying `a`. It is put in
//! place where a packet enters the core and where one is encoded; between the two there are whole names alone. The
//! client's `$SYS` is thus its own, and empty. Names within payloads and properties, Response Topic among them, stay
//! as they are, and so mean something only to others of the same mount point. Mosquitto does the same.

use std::fmt;
use std::sync::Arc;

use siskin_proto::{Subscribe, TopicFilter, TopicName, Unsubscribe};

use crate::cause::Violation;
use crate::event::Dropped;
use crate::message::Parts;

/// One or more whole levels in front of a client's names and filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint(Arc<str>);

/// Why a text is no mount point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPointError {
    /// It is no topic name: empty, with wildcards or U+0000.
    NoName,
    /// It does not end with `/`, so that a client's first level would not be a level.
    NoSlash,
    /// It begins with `$`, where there are other things than clients' topics.
    System,
    /// It has more than 1,024 bytes.
    TooLong,
}

impl MountPoint {
    /// `text` as a mount point.
    pub fn parse(text: &str) -> Result<Self, MountPointError> {
        match () {
            () if TopicName::parse(text).is_err() => Err(MountPointError::NoName),
            () if !text.ends_with('/') => Err(MountPointError::NoSlash),
            () if text.starts_with('$') => Err(MountPointError::System),
            () if text.len() > MOUNT_POINT_BYTES_MAX => Err(MountPointError::TooLong),
            () => Ok(Self(text.into())),
        }
    }

    /// Its text, with the slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole name of a client's `topic`.
    pub(crate) fn name(&self, topic: &str) -> Result<String, Violation> {
        let name = format!("{}{topic}", self.0);
        match TopicName::parse(&name) {
            Ok(_) => Ok(name),
            Err(_) => Err(Violation::MountedTooLong),
        }
    }

    /// The client's name for the topic of `parts`, if it has one.
    pub(crate) fn seen<'a>(&self, parts: &Parts<'a>) -> Result<Parts<'a>, Dropped> {
        match parts.topic.strip_prefix(&*self.0) {
            None | Some("") => Err(Dropped::OutsideMountPoint),
            Some(topic) => Ok(Parts { topic, ..*parts }),
        }
    }

    /// Hands on `subscribe` with whole filters.
    pub(crate) fn subscribe<T>(
        &self,
        subscribe: &Subscribe<'_>,
        then: impl FnOnce(&Subscribe<'_>) -> T,
    ) -> Result<T, Violation> {
        let texts: Vec<_> = subscribe.filters.iter().map(|(filter, _)| self.filter(*filter)).collect();
        let options = subscribe.filters.iter().map(|(_, options)| *options);
        let filters = whole(&texts)?.into_iter().zip(options).collect();
        let (packet_id, properties) = (subscribe.packet_id, subscribe.properties);
        Ok(then(&Subscribe { packet_id, properties, filters }))
    }

    /// Hands on `unsubscribe` with whole filters.
    pub(crate) fn unsubscribe<T>(
        &self,
        unsubscribe: &Unsubscribe<'_>,
        then: impl FnOnce(&Unsubscribe<'_>) -> T,
    ) -> Result<T, Violation> {
        let texts: Vec<_> = unsubscribe.filters.iter().map(|filter| self.filter(*filter)).collect();
        let (packet_id, properties) = (unsubscribe.packet_id, unsubscribe.properties);
        Ok(then(&Unsubscribe { packet_id, properties, filters: whole(&texts)? }))
    }

    /// A shared subscription's share name stays in front.
    fn filter(&self, filter: TopicFilter<'_>) -> String {
        let (share, matched) = filter.as_str().split_at(filter.as_str().len() - filter.filter().len());
        format!("{share}{}{matched}", self.0)
    }
}

fn whole(texts: &[String]) -> Result<Vec<TopicFilter<'_>>, Violation> {
    let parsed: Result<_, _> = texts.iter().map(|text| TopicFilter::parse(text)).collect();
    parsed.map_err(|_| Violation::MountedTooLong)
}

impl fmt::Display for MountPointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoName => "is no topic name",
            Self::NoSlash => "does not end with `/`",
            Self::System => "begins with `$`",
            Self::TooLong => "is longer than 1,024 bytes",
        })
    }
}

impl std::error::Error for MountPointError {}

/// What is left for the client's own names is long enough.
const MOUNT_POINT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> String {
        MountPoint::parse("a/b/").unwrap().filter(TopicFilter::parse(text).unwrap())
    }

    #[test]
    fn a_mount_point_is_one_or_more_whole_levels() {
        for text in ["a/", "a/b/", "/", "a b//"] {
            assert_eq!(MountPoint::parse(text).map(|mount| mount.as_str().to_owned()), Ok(text.to_owned()));
        }
        for (text, error) in [
            ("", MountPointError::NoName),
            ("a", MountPointError::NoSlash),
            ("+/", MountPointError::NoName),
            ("a/#/", MountPointError::NoName),
            ("\0/", MountPointError::NoName),
            ("$SYS/", MountPointError::System),
            ("$share/a/", MountPointError::System),
        ] {
            assert_eq!(MountPoint::parse(text), Err(error), "{text}");
        }
        assert_eq!(MountPoint::parse(&"a/".repeat(513)), Err(MountPointError::TooLong));
    }

    #[test]
    fn it_stands_in_front_of_what_a_filter_matches() {
        assert_eq!(filter("#"), "a/b/#");
        assert_eq!(filter("/+"), "a/b//+");
        assert_eq!(filter("$SYS/#"), "a/b/$SYS/#");
        assert_eq!(filter("$share/group/+/x"), "$share/group/a/b/+/x");
    }

    #[test]
    fn a_name_that_is_too_long_behind_it_is_none() {
        let mount = MountPoint::parse("a/b/").unwrap();
        assert_eq!(mount.name(&"x".repeat(65_531)).map(|name| name.len()), Ok(65_535));
        assert_eq!(mount.name(&"x".repeat(65_532)), Err(Violation::MountedTooLong));
    }
}
