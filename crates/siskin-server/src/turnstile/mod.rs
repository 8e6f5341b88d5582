//! Who may come in, and how much they may do in a second: quotas, bans, and clients that come again and again.
//!
//! All workers share one turnstile. Its locks are taken at a CONNECT alone, and only where something is configured.

mod bans;
mod quota;
mod recent;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siskin_core::Now;

pub use bans::TooManyBans;
pub(crate) use quota::{Kind, Meter, Quota};
pub(crate) use recent::{Count, Recent};

use crate::config::{Ban, Banned, Excess, Flapping, Network, Quotas, Rates};
use bans::Bans;

/// What stands between a CONNECT and its session.
#[derive(Debug)]
pub(crate) struct Turnstile {
    quotas: Quotas,
    flapping: Flapping,
    memory: Arc<Memory>,
}

/// What is known of those who came. It outlives a change of quotas.
#[derive(Debug)]
struct Memory {
    /// Whether there is any ban.
    has_bans: AtomicBool,
    bans: Mutex<Bans>,
    users: Mutex<Users>,
    /// How often a client may connect in a second, also by what a worker does that has not yet learnt of it.
    client_connects: AtomicU64,
    /// What clients did lately, by client id and by address.
    clients: Mutex<Recent<Lately>>,
    addresses: Mutex<Recent<Lately>>,
}

/// Those who ask to come in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stranger<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) user_name: Option<&'a str>,
    /// None through a Unix socket.
    pub(crate) address: Option<IpAddr>,
}

/// Why somebody does not come in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// A ban, and its reason.
    Banned(String),
    /// A quota of connects, which has room again at that time.
    OverQuota(Now),
}

/// What one client or address did lately.
#[derive(Clone, Debug, Default)]
struct Lately {
    connects: Count,
    /// Connects of one client outlive its connections.
    quota: Option<Arc<Quota>>,
}

/// The quotas of user names. One that is full and that nobody draws on is forgotten when the map has doubled.
#[derive(Debug, Default)]
struct Users {
    /// Those in force, also for a worker that has not yet learnt of them.
    rates: Rates,
    quotas: HashMap<Box<str>, Arc<Quota>>,
    forget_at: usize,
}

impl Turnstile {
    pub(crate) fn new(quotas: Quotas, flapping: Flapping, bans: &[Ban], now: Now) -> Self {
        let memory = Memory {
            has_bans: AtomicBool::new(false),
            bans: Mutex::default(),
            users: Mutex::new(Users { rates: quotas.user, ..Users::default() }),
            client_connects: AtomicU64::new(quotas.client.connects),
            clients: Mutex::new(Recent::new(ROWS)),
            addresses: Mutex::new(Recent::new(ROWS)),
        };
        let turnstile = Self { quotas, flapping, memory: Arc::new(memory) };
        turnstile.configure_bans(bans, now);
        turnstile
    }

    /// One with other terms that knows the same of everybody. User names have the new quotas at once.
    pub(crate) fn renewed(&self, quotas: Quotas, flapping: Flapping) -> Self {
        if quotas.user != self.quotas.user {
            let mut users = lock(&self.memory.users);
            users.rates = quotas.user;
            users.quotas.values().for_each(|quota| quota.set_rates(quotas.user));
        }
        if quotas.client.connects != self.quotas.client.connects {
            let mut clients = lock(&self.memory.clients);
            self.memory.client_connects.store(quotas.client.connects, Ordering::Relaxed);
            clients.values().for_each(|lately| lately.quota = None);
        }
        Self { quotas, flapping, memory: Arc::clone(&self.memory) }
    }

    /// Bans all of these, and of those that were given so before no others. Bans made otherwise stay.
    pub(crate) fn configure_bans(&self, configured: &[Ban], now: Now) {
        let mut bans = lock(&self.memory.bans);
        bans.configure(configured, now);
        self.memory.has_bans.store(!bans.is_empty(), Ordering::Relaxed);
    }

    /// Whether `other` has the same quotas.
    pub(crate) fn has_quotas_of(&self, other: &Self) -> bool {
        self.quotas == other.quotas
    }

    /// Whether anything stands between a CONNECT and its session.
    pub(crate) fn is_watched(&self) -> bool {
        let Quotas { client, user, .. } = self.quotas;
        let counts = self.flapping.client_connects > 0 || self.flapping.address_connects > 0;
        counts || self.memory.has_bans.load(Ordering::Relaxed) || client.connects > 0 || user.connects > 0
    }

    /// Whether any client or user has a quota.
    pub(crate) fn has_quotas(&self) -> bool {
        !self.quotas.client.is_unlimited() || !self.quotas.user.is_unlimited()
    }

    /// What becomes of what is more than a quota allows.
    pub(crate) fn excess(&self) -> Excess {
        self.quotas.excess
    }

    /// Whether `stranger` may come in now.
    pub(crate) fn look(&self, stranger: Stranger<'_>, now: Now) -> Result<(), Closed> {
        let Stranger { client_id, user_name, .. } = stranger;
        if let Some(reason) = self.ban_of(stranger, now) {
            return Err(Closed::Banned(reason));
        }
        let client = self.client_quota(client_id, now);
        let user = self.user_quota(user_name, now);
        let room_at = |quota: Arc<Quota>| quota.room_at(Kind::Connects, now);
        match client.and_then(room_at).into_iter().chain(user.and_then(room_at)).max() {
            Some(room_at) => Err(Closed::OverQuota(room_at)),
            None => Ok(()),
        }
    }

    /// Why `stranger` may not be here, if it is banned.
    pub(crate) fn ban_of(&self, stranger: Stranger<'_>, now: Now) -> Option<String> {
        let Stranger { client_id, user_name, address } = stranger;
        if !self.memory.has_bans.load(Ordering::Relaxed) {
            return None;
        }
        lock(&self.memory.bans).find(client_id, user_name, address, now)
    }

    /// Counts a CONNECT of `stranger`, which may have been the one too many: then the next is banned.
    pub(crate) fn count(&self, stranger: Stranger<'_>, now: Now) {
        let Stranger { client_id, user_name, address } = stranger;
        for quota in
            [self.client_quota(client_id, now), self.user_quota(user_name, now)].into_iter().flatten()
        {
            quota.charge(Kind::Connects, 1, now);
        }
        let Flapping { client_connects, address_connects, window_ms, .. } = self.flapping;
        if client_connects > 0 && !client_id.is_empty() {
            let count = lock(&self.memory.clients).entry(client_id, now).connects.one_more(window_ms, now);
            if count == client_connects {
                self.ban_flapping(&Banned::Client(client_id.to_owned()), count, now);
            }
        }
        if let Some(address) = address.filter(|_| address_connects > 0) {
            // A host with IPv6 has a network of 64 bits to itself, and may come from any address of it.
            let bits = if address.to_canonical().is_ipv4() { 32 } else { 64 };
            let network = Network::Prefix { address: address.to_canonical(), bits }.canonical();
            let Network::Prefix { address, .. } = network else { return };
            let count = lock(&self.memory.addresses).entry(address, now).connects.one_more(window_ms, now);
            if count == address_connects {
                self.ban_flapping(&Banned::Address(network), count, now);
            }
        }
    }

    /// What a connection draws on, if anything.
    pub(crate) fn meter(
        &self,
        user_name: Option<&str>,
        listener: Option<&Arc<Quota>>,
        now: Now,
    ) -> Option<Box<Meter>> {
        let user = self.user_quota(user_name, now);
        Meter { own: self.own_quota(), user, listener: listener.cloned() }.boxed()
    }

    /// What a connection draws on that had `meter` before the quotas changed.
    pub(crate) fn renewed_meter(
        &self,
        meter: Option<Box<Meter>>,
        user_name: Option<&str>,
        now: Now,
    ) -> Option<Box<Meter>> {
        let Meter { user, listener, .. } = meter.map(|meter| *meter).unwrap_or_default();
        let user = user.or_else(|| self.user_quota(user_name, now));
        Meter { own: self.own_quota(), user, listener }.boxed()
    }

    /// What a connection may do itself.
    fn own_quota(&self) -> Option<Arc<Quota>> {
        Quota::new(Rates { connects: 0, ..self.quotas.client }).map(Arc::new)
    }

    pub(crate) fn ban(&self, ban: Ban, now: Now) -> Result<(), TooManyBans> {
        let mut bans = lock(&self.memory.bans);
        bans.add(Ban { who: ban.who.canonical(), ..ban }, now)?;
        self.memory.has_bans.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn unban(&self, who: &Banned, now: Now) -> bool {
        let mut bans = lock(&self.memory.bans);
        let was_banned = bans.remove(&who.clone().canonical(), now);
        self.memory.has_bans.store(!bans.is_empty(), Ordering::Relaxed);
        was_banned
    }

    pub(crate) fn bans(&self, now: Now) -> Vec<Ban> {
        lock(&self.memory.bans).list(now)
    }

    fn ban_flapping(&self, who: &Banned, count: u32, now: Now) {
        let seconds = self.flapping.window_ms as f64 / 1000.0;
        let reason = format!("{count} connects within {seconds} s");
        let until = Some(now.plus_ms(self.flapping.ban_ms));
        match self.ban(Ban { who: who.clone(), until, reason: reason.clone() }, now) {
            Ok(()) => {
                let ban_s = self.flapping.ban_ms as f64 / 1000.0;
                tracing::warn!("the {who} is banned for {ban_s} s: {reason}");
            }
            Err(error) => tracing::warn!("the {who} is not banned: {error}"),
        }
    }

    /// Where the connects of `client_id` are counted.
    fn client_quota(&self, client_id: &str, now: Now) -> Option<Arc<Quota>> {
        if self.quotas.client.connects == 0 || client_id.is_empty() {
            return None;
        }
        let mut clients = lock(&self.memory.clients);
        let connects = self.memory.client_connects.load(Ordering::Relaxed);
        let quota = &mut clients.entry(client_id, now).quota;
        if quota.is_none() {
            *quota = Quota::new(Rates { connects, ..Rates::default() }).map(Arc::new);
        }
        quota.clone()
    }

    fn user_quota(&self, user_name: Option<&str>, now: Now) -> Option<Arc<Quota>> {
        let user_name = user_name.filter(|_| !self.quotas.user.is_unlimited())?;
        let mut users = lock(&self.memory.users);
        if let Some(quota) = users.quotas.get(user_name) {
            return Some(Arc::clone(quota));
        }
        if users.quotas.len() >= users.forget_at.max(USERS_KEPT) {
            users.quotas.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.is_full(now));
            users.forget_at = users.quotas.len() * 2;
        }
        let quota = Arc::new(Quota::new(users.rates)?);
        users.quotas.insert(user_name.into(), Arc::clone(&quota));
        Some(quota)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Four times as many client ids, and as many addresses, are remembered.
const ROWS: usize = 16_384;

/// User names whose quotas are kept without a look at whether they are needed.
const USERS_KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_millis(1_800_000_000_000 + ms)
    }

    fn stranger<'a>(client_id: &'a str, address: &str) -> Stranger<'a> {
        Stranger { client_id, user_name: Some("user"), address: address.parse().ok() }
    }

    fn flapping(client_connects: u32, address_connects: u32) -> Turnstile {
        let flapping = Flapping { client_connects, address_connects, window_ms: 1000, ban_ms: 5000 };
        Turnstile::new(Quotas::default(), flapping, &[], at(0))
    }

    #[test]
    fn a_client_id_that_comes_too_often_is_banned_for_a_while() {
        let turnstile = flapping(3, 0);
        for ms in [0, 500, 999] {
            assert_eq!(turnstile.look(stranger("c", "1.1.1.1"), at(ms)), Ok(()));
            turnstile.count(stranger("c", "1.1.1.1"), at(ms));
        }
        let banned = Err(Closed::Banned("the client id \"c\" is banned: 3 connects within 1 s".to_owned()));
        assert_eq!(turnstile.look(stranger("c", "2.2.2.2"), at(1000)), banned);
        assert_eq!(turnstile.look(stranger("d", "1.1.1.1"), at(1000)), Ok(()));
        assert_eq!(turnstile.look(stranger("c", "1.1.1.1"), at(5999)), Ok(()));
    }

    #[test]
    fn who_comes_slowly_enough_is_not_banned() {
        let turnstile = flapping(2, 2);
        for round in 0..20 {
            turnstile.count(stranger("c", "1.1.1.1"), at(round * 1000));
        }
        assert_eq!(turnstile.bans(at(20_000)), []);
    }

    #[test]
    fn an_address_that_comes_too_often_is_banned_whatever_it_calls_itself() {
        let turnstile = flapping(0, 2);
        turnstile.count(stranger("a", "1.1.1.1"), at(0));
        turnstile.count(stranger("b", "::ffff:1.1.1.1"), at(1));
        assert!(matches!(turnstile.look(stranger("c", "1.1.1.1"), at(2)), Err(Closed::Banned(_))));
        assert_eq!(turnstile.look(stranger("a", "1.1.1.2"), at(2)), Ok(()));
    }

    #[test]
    fn of_ipv6_a_network_of_64_bits_counts_as_one_address() {
        let turnstile = flapping(0, 2);
        turnstile.count(stranger("a", "2001:db8:1:2::1"), at(0));
        turnstile.count(stranger("b", "2001:db8:1:2:ffff::9"), at(1));
        let Err(Closed::Banned(why)) = turnstile.look(stranger("c", "2001:db8:1:2:3::3"), at(2)) else {
            panic!("it is not banned");
        };
        assert!(why.contains("2001:db8:1:2::/64"), "{why}");
        assert_eq!(turnstile.look(stranger("a", "2001:db8:1:3::1"), at(2)), Ok(()));
    }

    #[test]
    fn connects_of_a_client_and_of_a_user_have_quotas_that_outlive_connections() {
        let connects = |connects| Rates { connects, ..Rates::default() };
        let quotas = Quotas { client: connects(1), user: connects(2), excess: Excess::Drop };
        let turnstile = Turnstile::new(quotas, Flapping::default(), &[], at(0));
        assert!(turnstile.is_watched());
        turnstile.count(stranger("a", ""), at(0));
        assert_eq!(turnstile.look(stranger("a", ""), at(0)), Err(Closed::OverQuota(at(1000))));
        assert_eq!(turnstile.look(stranger("b", ""), at(0)), Ok(()));
        turnstile.count(stranger("b", ""), at(0));
        assert_eq!(turnstile.look(stranger("c", ""), at(0)), Err(Closed::OverQuota(at(500))));
        let other = Stranger { user_name: Some("other"), ..stranger("c", "") };
        assert_eq!(turnstile.look(other, at(0)), Ok(()));
    }

    #[test]
    fn user_names_that_nobody_uses_any_more_are_forgotten() {
        let quotas = Quotas { user: Rates { messages: 1, ..Rates::default() }, ..Quotas::default() };
        let turnstile = Turnstile::new(quotas, Flapping::default(), &[], at(0));
        let kept = turnstile.meter(Some("kept"), None, at(0));
        for number in 0..10_000 {
            turnstile.meter(Some(&number.to_string()), None, at(0));
        }
        assert!(lock(&turnstile.memory.users).quotas.len() <= USERS_KEPT);
        kept.unwrap().charge(Kind::Messages, 1, at(0));
        assert!(turnstile.meter(Some("kept"), None, at(0)).unwrap().is_over(Kind::Messages, at(0)));
    }

    #[test]
    fn a_ban_counts_from_when_it_is_made_and_can_be_taken_back() {
        let turnstile = flapping(0, 0);
        assert!(!turnstile.is_watched());
        let who = Banned::Address("10.1.2.3/8".parse().unwrap());
        turnstile.ban(Ban { who: who.clone(), until: None, reason: "test".to_owned() }, at(0)).unwrap();
        assert!(turnstile.is_watched() && turnstile.look(stranger("a", "10.9.9.9"), at(0)).is_err());
        assert_eq!((turnstile.unban(&who, at(0)), turnstile.unban(&who, at(0))), (true, false));
        assert!(!turnstile.is_watched() && turnstile.look(stranger("a", "10.9.9.9"), at(0)).is_ok());
    }
}
