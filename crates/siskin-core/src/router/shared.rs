//! The members of one shared subscription: who takes turns with whom.

use std::sync::Arc;

use super::list::{Keyed, List};
use super::{Group, Members, Subscriber};
use crate::hash::Hasher;
use crate::session::SessionKey;

/// The sessions that share one `$share/NAME/FILTER`.
pub(super) struct Shared {
    /// The whole text, by which a group is told from others on the same filter.
    text: Arc<str>,
    /// Those who are online first, the others behind them.
    members: List<Subscriber>,
    online: usize,
}

impl Keyed for Shared {
    type Key = str;

    fn key(&self) -> &str {
        &self.text
    }
}

impl Shared {
    pub(super) fn new(text: Arc<str>) -> Self {
        Self { text, members: List::new(), online: 0 }
    }

    /// Adds a member, or gives an existing one new options, and says whether it was added. Either way it is
    /// online now: who subscribes is there.
    pub(super) fn join(&mut self, member: Subscriber, hasher: &Hasher) -> bool {
        let known = self.members.position(&member.session, hasher);
        match known {
            Some(at) => *self.members.get_mut(at) = member,
            None => self.members.push(member, hasher),
        }
        self.set_online(member.session, true, hasher);
        known.is_none()
    }

    pub(super) fn leave(&mut self, session: SessionKey, hasher: &Hasher) -> bool {
        // Moved behind those online first, so that the last member may take its place.
        self.set_online(session, false, hasher);
        let Some(at) = self.members.position(&session, hasher) else { return false };
        self.members.swap_remove(at, hasher);
        true
    }

    /// Says whether this changed anything.
    pub(super) fn set_online(&mut self, session: SessionKey, online: bool, hasher: &Hasher) -> bool {
        let Some(at) = self.members.position(&session, hasher) else { return false };
        if (at < self.online) == online {
            return false;
        }
        if online {
            self.members.swap(at, self.online, hasher);
            self.online += 1;
        } else {
            self.online -= 1;
            self.members.swap(at, self.online, hasher);
        }
        true
    }

    /// What the session asked for, if it is a member.
    pub(super) fn member(&self, session: SessionKey, hasher: &Hasher) -> Option<Subscriber> {
        self.members.position(&session, hasher).map(|at| self.members.as_slice()[at])
    }

    /// Those who may be given a message now: whoever is online, or everybody when nobody is.
    pub(super) fn candidates(&self) -> &[Subscriber] {
        let members = self.members.as_slice();
        if self.online == 0 { members } else { &members[..self.online] }
    }

    /// The candidate whose turn it is.
    pub(super) fn pick(&self, turn: u32) -> Option<Subscriber> {
        pick_from(self.candidates(), turn)
    }

    /// The member whose turn it is among those online.
    pub(super) fn pick_online(&self, turn: u32) -> Option<Subscriber> {
        pick_from(&self.members.as_slice()[..self.online], turn)
    }

    pub(super) fn group(&self) -> Group {
        Group { filter: self.text.clone(), members: self.candidates().to_vec() }
    }

    pub(super) fn all(&self) -> Members {
        Members { all: self.members.as_slice().to_vec(), online: self.online }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

fn pick_from(members: &[Subscriber], turn: u32) -> Option<Subscriber> {
    let at = (turn as usize).checked_rem(members.len())?;
    Some(members[at])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::tests::{hasher, key, subscriber};
    use super::*;

    fn group(sessions: std::ops::Range<u32>) -> Shared {
        let mut group = Shared::new("$share/g/a".into());
        for session in sessions {
            assert!(group.join(subscriber(session), &hasher()));
        }
        group
    }

    fn slots(members: &[Subscriber]) -> Vec<u32> {
        let mut slots: Vec<_> = members.iter().map(|member| member.session.slot()).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn only_those_online_are_candidates_as_long_as_somebody_is() {
        let mut group = group(0..4);
        assert_eq!(slots(group.candidates()), [0, 1, 2, 3]);
        assert!(group.set_online(key(1), false, &hasher()));
        assert!(group.set_online(key(3), false, &hasher()));
        assert_eq!(slots(group.candidates()), [0, 2]);
        assert!(group.set_online(key(1), true, &hasher()));
        assert_eq!(slots(group.candidates()), [0, 1, 2]);
    }

    #[test]
    fn everybody_is_a_candidate_when_nobody_is_online() {
        let mut group = group(0..3);
        for session in 0..3 {
            group.set_online(key(session), false, &hasher());
        }
        assert_eq!(slots(group.candidates()), [0, 1, 2]);
    }

    #[test]
    fn saying_again_that_a_member_is_online_changes_nothing() {
        let mut group = group(0..3);
        assert!(!group.set_online(key(1), true, &hasher()));
        assert!(!group.set_online(key(9), true, &hasher()));
        group.set_online(key(1), false, &hasher());
        assert!(!group.set_online(key(1), false, &hasher()));
    }

    #[test]
    fn leaving_keeps_online_and_offline_apart() {
        for gone in 0..100 {
            let mut group = group(0..100);
            (0..100).filter(|session| session % 3 == 0).for_each(|session| {
                group.set_online(key(session), false, &hasher());
            });
            assert!(group.leave(key(gone), &hasher()));
            assert!(!group.leave(key(gone), &hasher()));
            let expected: Vec<_> = (0..100).filter(|&session| session % 3 != 0 && session != gone).collect();
            assert_eq!(slots(group.candidates()), expected);
        }
    }

    #[test]
    fn turns_reach_every_candidate() {
        let mut group = group(0..5);
        group.set_online(key(2), false, &hasher());
        let picked: HashSet<_> = (0..4).filter_map(|turn| group.pick(turn)).collect();
        assert_eq!(slots(&picked.into_iter().collect::<Vec<_>>()), [0, 1, 3, 4]);
    }

    #[test]
    fn nobody_is_picked_as_online_when_nobody_is() {
        let mut group = group(0..2);
        group.set_online(key(1), false, &hasher());
        assert!((0..4).all(|turn| group.pick_online(turn).unwrap().session == key(0)));
        group.set_online(key(0), false, &hasher());
        assert!(group.pick_online(0).is_none());
        assert_ne!(group.pick(0), group.pick(1));
        group.leave(key(0), &hasher());
        group.leave(key(1), &hasher());
        assert!(group.pick(7).is_none());
    }
}
