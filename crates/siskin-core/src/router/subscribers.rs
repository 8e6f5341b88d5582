//! Who subscribed to one filter.

use std::sync::Arc;

use super::list::{Keyed, List};
use super::shared::Shared;
use super::{Routes, Subscriber};
use crate::hash::Hasher;
use crate::session::SessionKey;

/// The subscribers of one filter. Most filters have one, and it needs no memory beyond these 16 bytes.
#[derive(Default)]
pub(super) enum Subscribers {
    #[default]
    Nobody,
    One(Subscriber),
    Many(Box<Many>),
}

/// More than one session, or any group that shares the filter.
pub(super) struct Many {
    plain: List<Subscriber>,
    groups: List<Shared>,
}

// The variants hide in the unused values of the options' bytes; a field more would double every list.
const _: () = assert!(size_of::<Subscribers>() == 16);

impl Keyed for Subscriber {
    type Key = SessionKey;

    fn key(&self) -> &SessionKey {
        &self.session
    }
}

impl Subscribers {
    /// Adds a session, or gives it new options, and says whether it was added.
    pub(super) fn insert(&mut self, subscriber: Subscriber, hasher: &Hasher) -> bool {
        match self {
            Self::Nobody => {
                *self = Self::One(subscriber);
                true
            }
            Self::One(one) if one.session == subscriber.session => {
                *one = subscriber;
                false
            }
            Self::One(_) | Self::Many(_) => {
                let plain = &mut self.many(hasher).plain;
                match plain.position(&subscriber.session, hasher) {
                    Some(at) => {
                        *plain.get_mut(at) = subscriber;
                        false
                    }
                    None => {
                        plain.push(subscriber, hasher);
                        true
                    }
                }
            }
        }
    }

    /// What the session asked for.
    pub(super) fn get(&self, session: SessionKey, hasher: &Hasher) -> Option<Subscriber> {
        match self {
            Self::Nobody => None,
            Self::One(one) => Some(*one).filter(|one| one.session == session),
            Self::Many(many) => many.plain.position(&session, hasher).map(|at| many.plain.as_slice()[at]),
        }
    }

    /// Says whether the session was there.
    pub(super) fn remove(&mut self, session: SessionKey, hasher: &Hasher) -> bool {
        match self {
            Self::One(one) if one.session == session => {
                *self = Self::Nobody;
                true
            }
            Self::Nobody | Self::One(_) => false,
            Self::Many(many) => {
                let Some(at) = many.plain.position(&session, hasher) else { return false };
                many.plain.swap_remove(at, hasher);
                self.shrink();
                true
            }
        }
    }

    /// Adds a session to the group named `text`, or gives it new options there, and says whether it was added.
    pub(super) fn join(&mut self, text: &Arc<str>, subscriber: Subscriber, hasher: &Hasher) -> bool {
        let groups = &mut self.many(hasher).groups;
        let at = groups.position(text, hasher).unwrap_or_else(|| {
            groups.push(Shared::new(text.clone()), hasher);
            groups.len() - 1
        });
        groups.get_mut(at).join(subscriber, hasher)
    }

    /// Says whether the session was in the group.
    pub(super) fn leave(&mut self, text: &str, session: SessionKey, hasher: &Hasher) -> bool {
        let Self::Many(many) = self else { return false };
        let Some(at) = many.groups.position(text, hasher) else { return false };
        let group = many.groups.get_mut(at);
        if !group.leave(session, hasher) {
            return false;
        }
        if group.is_empty() {
            many.groups.swap_remove(at, hasher);
            self.shrink();
        }
        true
    }

    /// Says whether this changed anything.
    pub(super) fn set_online(
        &mut self,
        text: &str,
        session: SessionKey,
        online: bool,
        hasher: &Hasher,
    ) -> bool {
        let Self::Many(many) = self else { return false };
        let Some(at) = many.groups.position(text, hasher) else { return false };
        many.groups.get_mut(at).set_online(session, online, hasher)
    }

    pub(super) fn group(&self, text: &str, hasher: &Hasher) -> Option<&Shared> {
        let Self::Many(many) = self else { return None };
        many.groups.position(text, hasher).map(|at| &many.groups.as_slice()[at])
    }

    /// Adds everybody here to `routes`.
    pub(super) fn add_to(&self, routes: &mut Routes) {
        match self {
            Self::Nobody => {}
            Self::One(one) => routes.plain.push(*one),
            Self::Many(many) => {
                routes.plain.extend_from_slice(many.plain.as_slice());
                routes.groups.extend(many.groups.as_slice().iter().map(Shared::group));
            }
        }
    }

    /// How many filters this is, counting each group as one of its own.
    pub(super) fn filters(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::One(_) => 1,
            Self::Many(many) => usize::from(!many.plain.is_empty()) + many.groups.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Nobody)
    }

    fn many(&mut self, hasher: &Hasher) -> &mut Many {
        if !matches!(self, Self::Many(_)) {
            let mut many = Many { plain: List::new(), groups: List::new() };
            if let Self::One(one) = *self {
                many.plain.push(one, hasher);
            }
            *self = Self::Many(Box::new(many));
        }
        let Self::Many(many) = self else { unreachable!("made so above") };
        many
    }

    fn shrink(&mut self) {
        let Self::Many(many) = self else { return };
        match many.plain.as_slice() {
            _ if !many.groups.is_empty() => {}
            [] => *self = Self::Nobody,
            &[one] => *self = Self::One(one),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{hasher, key, subscriber};
    use super::*;

    #[test]
    fn a_list_goes_from_one_to_many_and_back_to_nothing() {
        let mut subscribers = Subscribers::default();
        assert!(subscribers.insert(subscriber(1), &hasher()));
        assert!(matches!(subscribers, Subscribers::One(_)));
        assert!(subscribers.insert(subscriber(2), &hasher()));
        assert!(matches!(subscribers, Subscribers::Many(_)));
        assert!(!subscribers.remove(key(3), &hasher()));
        assert!(subscribers.remove(key(1), &hasher()));
        assert!(matches!(subscribers, Subscribers::One(one) if one.session == key(2)));
        assert!(!subscribers.remove(key(1), &hasher()));
        assert!(subscribers.remove(key(2), &hasher()));
        assert!(subscribers.is_empty());
    }

    #[test]
    fn subscribing_again_replaces_the_subscription() {
        let mut subscribers = Subscribers::default();
        for others in 0..3 {
            for other in 0..others {
                subscribers.insert(subscriber(other), &hasher());
            }
            subscribers.insert(subscriber(9), &hasher());
            let again = Subscriber { id: std::num::NonZeroU32::new(5), ..subscriber(9) };
            assert!(!subscribers.insert(again, &hasher()));
            let mut routes = Routes::default();
            subscribers.add_to(&mut routes);
            assert_eq!(routes.plain.len(), others as usize + 1);
            assert!(routes.plain.contains(&again));
        }
    }

    #[test]
    fn a_session_may_be_there_plainly_and_in_several_groups() {
        let (one, other): (Arc<str>, Arc<str>) = ("$share/one/a".into(), "$share/other/a".into());
        let mut subscribers = Subscribers::default();
        assert!(subscribers.join(&one, subscriber(1), &hasher()));
        assert!(subscribers.insert(subscriber(1), &hasher()));
        assert!(subscribers.join(&other, subscriber(1), &hasher()));
        assert!(!subscribers.join(&other, subscriber(1), &hasher()));
        assert_eq!(subscribers.filters(), 3);
        let mut routes = Routes::default();
        subscribers.add_to(&mut routes);
        assert_eq!((routes.plain.len(), routes.groups.len()), (1, 2));
        assert!(subscribers.leave(&one, key(1), &hasher()));
        assert!(!subscribers.leave(&one, key(1), &hasher()));
        assert!(subscribers.remove(key(1), &hasher()));
        assert!(subscribers.leave(&other, key(1), &hasher()));
        assert!(subscribers.is_empty());
    }
}
