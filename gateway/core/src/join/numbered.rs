//! Records by number: others hold four bytes of it in the place of its name. A number is given again once its record is gone.

use std::num::NonZeroU32;

/// The number of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Number(NonZeroU32);

impl Number {
    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Records by number.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    places: Vec<Option<T>>,
    free: Vec<Number>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Numbered<T> {
    /// The record of that number.
    pub(super) fn get(&self, number: Number) -> Option<&T> {
        self.places.get(number.place())?.as_ref()
    }
    /// The record of that number, to be changed.
    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut T> {
        self.places.get_mut(number.place())?.as_mut()
    }
    /// All records with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &T)> {
        let numbers = (0..).map(|place| Number(NonZeroU32::MIN.saturating_add(place)));
        numbers.zip(&self.places).filter_map(|(number, place)| Some((number, place.as_ref()?)))
    }
    /// The number that the next new record gets.
    pub(super) fn next(&self) -> Number {
        // Four billion records do not fit into memory.
        let new = || Number(NonZeroU32::MIN.saturating_add(self.places.len() as u32));
        self.free.last().copied().unwrap_or_else(new)
    }
    /// Gives a new record its number.
    pub(super) fn add(&mut self, record: T) -> Number {
        let number = self.next();
        match self.free.pop() {
            Some(_) => self.places[number.place()] = Some(record),
            None => {
                // Twice as many places at a time would be half of them empty.
                if self.places.len() == self.places.capacity() {
                    self.places.reserve_exact(self.places.len() / 8 + 8);
                }
                self.places.push(Some(record));
            }
        }
        number
    }
    /// Takes a record out, and its number back.
    pub(super) fn take(&mut self, number: Number) -> Option<T> {
        let record = self.places.get_mut(number.place())?.take()?;
        self.free.push(number);
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_again_once_its_record_is_gone() {
        let mut all = Numbered::default();
        let (a, b) = (all.add('a'), all.add('b'));
        assert!(a != b && all.iter().eq([(a, &'a'), (b, &'b')]));
        assert_eq!((all.take(a), all.take(a), all.get(a), all.next()), (Some('a'), None, None, a));
        assert_eq!((all.add('c'), all.get(a)), (a, Some(&'c')));
        assert_eq!(all.get_mut(b), Some(&mut 'b'));
        let next = all.next();
        assert_eq!(all.add('d'), next);
        assert_eq!(all.iter().count(), 3);
    }
}
