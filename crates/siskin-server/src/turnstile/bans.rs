//! Who may not connect, for how long and why.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use siskin_core::Now;

use crate::config::{Ban, Banned, Network};

/// All bans. Those that are over go when room is needed, and count for nothing before.
#[derive(Debug, Default)]
pub(super) struct Bans {
    /// Those of the configuration, for which there is room always.
    configured: HashMap<Banned, Terms>,
    /// Those of operators and of flapping.
    made: HashMap<Banned, Terms>,
}

#[derive(Clone, Debug)]
struct Terms {
    until: Option<Now>,
    reason: String,
}

/// There are as many bans as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBans;

impl Bans {
    /// Adds a ban, in place of an earlier one of the same.
    pub(super) fn add(&mut self, ban: Ban, now: Now) -> Result<(), TooManyBans> {
        if self.made.len() >= BANS_MAX && !self.made.contains_key(&ban.who) {
            self.forget_past(now);
            if self.made.len() >= BANS_MAX {
                return Err(TooManyBans);
            }
        }
        self.made.insert(ban.who, Terms::new(ban.until, &ban.reason));
        Ok(())
    }

    /// Has `configured` in place of those that the configuration had before.
    pub(super) fn configure(&mut self, configured: &[Ban], now: Now) {
        self.forget_past(now);
        let terms = |ban: &Ban| (ban.who.clone().canonical(), Terms::new(ban.until, &ban.reason));
        self.configured = configured.iter().map(terms).collect();
    }

    /// Ends a ban, whoever made it; false if there was none.
    pub(super) fn remove(&mut self, who: &Banned, now: Now) -> bool {
        let removed = [self.configured.remove(who), self.made.remove(who)];
        removed.into_iter().flatten().any(|terms| terms.is_in_force(now))
    }

    /// Those in force: of two about the same, the one that lasts longer.
    pub(super) fn list(&mut self, now: Now) -> Vec<Ban> {
        self.forget_past(now);
        let lasts = |terms: &Terms| terms.until.map_or(u64::MAX, Now::as_millis);
        let is_outlasted = |who: &Banned, terms: &Terms| {
            self.configured.get(who).is_some_and(|configured| lasts(configured) >= lasts(terms))
        };
        let made = self.made.iter().filter(|(who, terms)| !is_outlasted(who, terms));
        let mut all: HashMap<_, _> = self.configured.iter().collect();
        all.extend(made);
        let ban = |(who, terms): (&Banned, &Terms)| Ban {
            who: who.clone(),
            until: terms.until,
            reason: terms.reason.clone(),
        };
        all.into_iter().map(ban).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.made.is_empty()
    }

    /// Why somebody may not connect, if so.
    pub(super) fn find(
        &self,
        client_id: &str,
        user_name: Option<&str>,
        address: Option<IpAddr>,
        now: Now,
    ) -> Option<String> {
        let client = Banned::Client(client_id.to_owned());
        let user = user_name.map(|name| Banned::User(name.to_owned()));
        // A network that is banned is one of few lengths: each is looked up by what it has in common.
        let networks = networks(address).map(Banned::Address);
        let (who, terms) = [Some(client), user]
            .into_iter()
            .flatten()
            .chain(networks)
            .flat_map(|who| [self.configured.get_key_value(&who), self.made.get_key_value(&who)])
            .flatten()
            .find(|(_, terms)| terms.is_in_force(now))?;
        Some(format!("the {who} is banned: {}", terms.reason))
    }

    fn forget_past(&mut self, now: Now) {
        self.configured.retain(|_, terms| terms.is_in_force(now));
        self.made.retain(|_, terms| terms.is_in_force(now));
    }
}

impl Terms {
    fn new(until: Option<Now>, reason: &str) -> Self {
        Self { until, reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }

    fn is_in_force(&self, now: Now) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Every network that `address` is in, as [`Network::canonical`] writes them.
fn networks(address: Option<IpAddr>) -> impl Iterator<Item = Network> {
    let address = address.map(|address| address.to_canonical());
    let bits = address.map(|address| if address.is_ipv4() { 32_u8 } else { 128 });
    let within = address.zip(bits).into_iter().flat_map(|(address, most)| {
        (0..=most).rev().map(move |bits| Network::Prefix { address, bits }.canonical())
    });
    within.chain(address.is_none().then_some(Network::Unix))
}

impl fmt::Display for TooManyBans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {BANS_MAX} bans, and no more are kept")
    }
}

impl std::error::Error for TooManyBans {}

/// Bans kept, by hand and by flapping; those of the configuration are not counted.
const BANS_MAX: usize = 100_000;

/// Characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(all: &[(Banned, Option<u64>)]) -> Bans {
        let mut bans = Bans::default();
        for (who, until) in all {
            let until = until.map(Now::from_millis);
            bans.add(Ban { who: who.clone(), until, reason: "noise".to_owned() }, Now::default()).unwrap();
        }
        bans
    }

    fn address(text: &str) -> Banned {
        Banned::Address(text.parse::<Network>().unwrap().canonical())
    }

    #[test]
    fn a_ban_is_about_a_client_id_a_user_name_an_address_or_a_network() {
        let bans = bans(&[
            (Banned::Client("c".to_owned()), None),
            (Banned::User("u".to_owned()), None),
            (address("10.1.2.3/8"), None),
            (address("192.0.2.7"), None),
            (address("2001:db8::/32"), None),
        ]);
        let find = |client: &str, user: Option<&str>, ip: &str| {
            bans.find(client, user, Some(ip.parse().unwrap()), Now::default()).is_some()
        };
        assert!(find("c", None, "1.1.1.1") && find("x", Some("u"), "1.1.1.1"));
        assert!(find("x", None, "10.200.0.1") && find("x", None, "::ffff:10.0.0.1"));
        assert!(find("x", None, "192.0.2.7") && find("x", None, "2001:db8:1::1"));
        assert!(!find("u", Some("c"), "192.0.2.8") && !find("x", None, "11.0.0.1"));
        assert!(!find("", None, "2001:db9::1"));
        let everybody = self::bans(&[(address("0.0.0.0/0"), None), (Banned::Address(Network::Unix), None)]);
        assert!(everybody.find("x", None, Some("9.9.9.9".parse().unwrap()), Now::default()).is_some());
        assert!(everybody.find("x", None, None, Now::default()).is_some());
    }

    #[test]
    fn a_ban_ends_when_it_is_over_or_taken_back() {
        let who = Banned::Client("c".to_owned());
        let mut bans = bans(&[(who.clone(), Some(100))]);
        let at = Now::from_millis;
        assert_eq!(
            bans.find("c", None, None, at(99)).as_deref(),
            Some("the client id \"c\" is banned: noise")
        );
        assert_eq!(bans.find("c", None, None, at(100)), None);
        assert_eq!((bans.list(at(99)).len(), bans.remove(&who, at(99))), (1, true));
        assert_eq!((bans.list(at(99)).len(), bans.remove(&who, at(99))), (0, false));
    }

    #[test]
    fn bans_of_the_configuration_come_and_go_without_touching_others() {
        let find = |bans: &Bans, ip: &str| {
            bans.find("c", None, Some(ip.parse().unwrap()), Now::from_millis(50)).is_some()
        };
        let ban = |text: &str, until: Option<u64>| Ban {
            who: Banned::Address(text.parse().unwrap()),
            until: until.map(Now::from_millis),
            reason: "file".to_owned(),
        };
        let mut bans = bans(&[(address("192.0.2.7"), None)]);
        bans.configure(&[ban("192.0.2.7", Some(100)), ban("10.1.2.3/8", None)], Now::default());
        assert!(find(&bans, "192.0.2.7") && find(&bans, "10.0.0.1"));
        // The one that lasts longer is the one to know of.
        let listed = bans.list(Now::from_millis(50));
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().any(|ban| ban.who == address("192.0.2.7") && ban.reason == "noise"));
        bans.configure(&[], Now::from_millis(50));
        assert!(find(&bans, "192.0.2.7") && !find(&bans, "10.0.0.1"));
        bans.configure(&[ban("192.0.2.7", None)], Now::from_millis(50));
        assert!(bans.remove(&address("192.0.2.7"), Now::from_millis(50)));
        assert!(!find(&bans, "192.0.2.7") && bans.is_empty());
    }

    #[test]
    fn no_more_bans_are_kept_than_may_be_and_past_ones_make_room() {
        let mut bans = Bans::default();
        let ban = |number: usize| Ban {
            who: Banned::Client(number.to_string()),
            until: Some(Now::from_millis(100)),
            reason: "é".repeat(1000),
        };
        for number in 0..BANS_MAX {
            bans.add(ban(number), Now::default()).unwrap();
        }
        assert_eq!(bans.add(ban(BANS_MAX), Now::from_millis(99)), Err(TooManyBans));
        assert_eq!(bans.add(ban(0), Now::from_millis(99)), Ok(()));
        assert_eq!(bans.add(ban(BANS_MAX), Now::from_millis(100)), Ok(()));
        assert_eq!(bans.made.len(), 1);
        assert!(bans.made.values().all(|terms| terms.reason.chars().count() == REASON_CHARS_MAX));
    }
}
