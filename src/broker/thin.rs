//! Lists for what there is a hundred thousand times: mostly empty, or mostly of one.

use std::ops::Deref;

/// A [`Vec`] that takes the place of a pointer while it is empty.
#[derive(Debug)]
pub struct Thin<T>(
    #[expect(clippy::box_collection, reason = "the box is what makes it thin")] Option<Box<Vec<T>>>,
);

impl<T> Default for Thin<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Thin<T> {
    /// Adds `value` at the end.
    pub fn push(&mut self, value: T) {
        self.0.get_or_insert_default().push(value);
    }

    /// Takes the last one out.
    pub fn pop(&mut self) -> Option<T> {
        self.0.as_mut()?.pop()
    }

    /// Keeps those for which `keeps` holds; an empty list gives its memory back.
    pub fn retain(&mut self, keeps: impl FnMut(&T) -> bool) {
        if let Some(list) = &mut self.0 {
            list.retain(keeps);
            if list.is_empty() {
                self.0 = None;
            }
        }
    }
}

impl<T> Deref for Thin<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        self.0.as_ref().map_or(&[], |list| list)
    }
}

impl<T> From<Vec<T>> for Thin<T> {
    fn from(list: Vec<T>) -> Self {
        Self((!list.is_empty()).then(|| Box::new(list)))
    }
}

impl<'a, T> IntoIterator for &'a Thin<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A list that does not change, of one mostly, which lies in it.
#[derive(Clone, Debug)]
pub enum OneOrMore<T> {
    /// Just one.
    One(T),
    /// Any number.
    More(Box<[T]>),
}

impl<T> Deref for OneOrMore<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

impl<T> FromIterator<T> for OneOrMore<T> {
    fn from_iter<I: IntoIterator<Item = T>>(list: I) -> Self {
        let mut list = list.into_iter();
        let (first, second) = (list.next(), list.next());
        match (first, second) {
            (Some(one), None) => Self::One(one),
            (first, second) => Self::More(first.into_iter().chain(second).chain(list).collect()),
        }
    }
}

impl<T: PartialEq> PartialEq for OneOrMore<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for OneOrMore<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lies_in_its_place() {
        for list in [vec![], vec![1], vec![1, 2], vec![1, 2, 3]] {
            let found: OneOrMore<i32> = list.iter().copied().collect();
            assert_eq!(*found, list[..]);
            assert_eq!(matches!(found, OneOrMore::One(_)), list.len() == 1);
        }
        assert_eq!(OneOrMore::One(1), OneOrMore::More([1].into()));
    }

    #[test]
    fn an_empty_list_takes_a_word_and_another_is_a_list() {
        assert_eq!(size_of::<Thin<u64>>(), size_of::<usize>());
        let mut list = Thin::default();
        assert!(list.is_empty() && list.pop().is_none());
        list.push(1);
        list.push(2);
        assert_eq!(*list, [1, 2]);
        assert_eq!(list.pop(), Some(2));
        list.retain(|value| *value != 1);
        assert!(list.0.is_none());
        assert!(Thin::<u8>::from(Vec::new()).0.is_none());
        assert_eq!(*Thin::from(vec![7]), [7]);
    }
}
