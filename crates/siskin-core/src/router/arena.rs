//! Values in one block of memory, named by 32 bits.

/// A place in an [`Arena`].
pub(super) type Place = u32;

/// No place.
pub(super) const NOWHERE: Place = Place::MAX;

/// Values that refer to each other by their place. Freed places are used again, and the memory is given back
/// when the last value goes.
pub(super) struct Arena<T> {
    values: Vec<T>,
    free: Vec<Place>,
}

impl<T: Default> Arena<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, value: T) -> Place {
        if let Some(place) = self.free.pop() {
            self.values[place as usize] = value;
            return place;
        }
        let place = Place::try_from(self.values.len()).ok().filter(|&place| place != NOWHERE);
        self.values.push(value);
        place.expect("memory ends before 2^32 values")
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.values[place as usize] = T::default();
        self.free.push(place);
        if self.is_empty() {
            *self = Self::new();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> std::ops::Index<Place> for Arena<T> {
    type Output = T;

    fn index(&self, place: Place) -> &T {
        &self.values[place as usize]
    }
}

impl<T> std::ops::IndexMut<Place> for Arena<T> {
    fn index_mut(&mut self, place: Place) -> &mut T {
        &mut self.values[place as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_place_is_used_again() {
        let mut arena = Arena::new();
        let (one, other) = (arena.insert(1), arena.insert(2));
        arena.remove(one);
        assert_eq!(arena.insert(3), one);
        assert_eq!((arena[one], arena[other], arena.len()), (3, 2, 2));
    }

    #[test]
    fn the_memory_is_given_back_with_the_last_value() {
        let mut arena = Arena::new();
        let places: Vec<_> = (0..100).map(|value| arena.insert(value)).collect();
        places.into_iter().for_each(|place| arena.remove(place));
        assert!(arena.is_empty());
        assert_eq!((arena.values.capacity(), arena.free.capacity()), (0, 0));
    }
}
