//! The sessions of one worker, by key.

use super::{Session, SessionKey};

/// Places for sessions. A place is used again under another generation, so that an old key finds nobody.
#[derive(Debug)]
pub(crate) struct Sessions {
    worker: u16,
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    generation: u16,
    session: Option<Box<Session>>,
}

impl Sessions {
    pub(crate) fn new(worker: u16) -> Self {
        Self { worker, places: Vec::new(), free: Vec::new() }
    }

    /// The key that the next session inserted will have.
    pub(crate) fn next_key(&self) -> SessionKey {
        match self.free.last() {
            Some(&slot) => SessionKey::new(self.worker, self.places[slot as usize].generation, slot),
            None => SessionKey::new(self.worker, 0, self.places.len() as u32),
        }
    }

    /// Puts `session` in the place that [`Self::next_key`] named.
    pub(crate) fn insert(&mut self, session: Session) -> &mut Session {
        let slot = match self.free.pop() {
            Some(slot) => slot as usize,
            None => {
                self.places.push(Place { generation: 0, session: None });
                self.places.len() - 1
            }
        };
        self.places[slot].session.insert(Box::new(session))
    }

    pub(crate) fn get(&self, key: SessionKey) -> Option<&Session> {
        let place = self.places.get(key.slot() as usize)?;
        if place.generation != key.generation() || key.worker() != self.worker {
            return None;
        }
        place.session.as_deref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        let place = self.places.get_mut(key.slot() as usize)?;
        if place.generation != key.generation() || key.worker() != self.worker {
            return None;
        }
        place.session.as_deref_mut()
    }

    pub(crate) fn remove(&mut self, key: SessionKey) -> Option<Box<Session>> {
        self.get(key)?;
        let place = &mut self.places[key.slot() as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.slot());
        place.session.take()
    }

    /// How many places there are, taken or not.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// Who has the place `slot`.
    pub(crate) fn at(&self, slot: usize) -> Option<&Session> {
        self.places.get(slot)?.session.as_deref()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.places.iter().filter_map(|place| place.session.as_deref())
    }

    /// The sessions from `place` on, each with its place.
    pub(crate) fn from(&self, place: u32) -> impl Iterator<Item = (u32, &Session)> {
        let rest = self.places.get(place as usize..).unwrap_or(&[]);
        (place..).zip(rest).filter_map(|(place, tenant)| Some((place, tenant.session.as_deref()?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
