//! Reading from temporary storage: messages that lie close together with one read.

use super::{Temp, TempOutcome, TempPlace, salt_of};
use crate::error::StoreError;
use crate::fields::index;
use crate::read::{FIRST_READ, Found, Parsed, joins, parse};
use crate::segment;

impl Temp {
    /// Reads messages; `out` gets an outcome for each, in the order of `places`. One whose place was released is nothing; an error
    /// is one of that message alone.
    pub fn read_many(&self, places: &[TempPlace], out: &mut Vec<TempOutcome>) {
        let began = out.len();
        out.resize_with(began + places.len(), || Ok(None));
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_unstable_by_key(|&position| places[position]);
        let mut buffer = Vec::new();
        let mut rest = order.as_slice();
        while let Some(&first) = rest.first() {
            let mut count = 1;
            while rest.get(count).is_some_and(|&next| {
                joins(places[first].0, places[rest[count - 1]].0, places[next].0)
            }) {
                count += 1;
            }
            let (run, others) = rest.split_at(count);
            self.read_run(places, run, &mut buffer, &mut out[began..]);
            rest = others;
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// The disk refuses, or the record does not check.
    pub fn read(&self, at: TempPlace) -> TempOutcome {
        self.fetch(at, &mut Vec::new())
    }

    /// Reads messages that lie close together.
    fn read_run(
        &self,
        places: &[TempPlace],
        run: &[usize],
        buffer: &mut Vec<u8>,
        out: &mut [TempOutcome],
    ) {
        let (first, last) = (places[run[0]].0, places[run[run.len() - 1]].0);
        let length = index(last.offset() - first.offset()) + FIRST_READ;
        buffer.resize(length, 0);
        // What is wrong with one must cost no other: each for which this does not do is read alone.
        let got = self
            .read_at(first.segment(), first.offset(), buffer)
            .ok()
            .flatten()
            .unwrap_or(0);
        let mut alone = Vec::new();
        for &position in run {
            let at = places[position].0;
            let from = index(at.offset() - first.offset());
            let octets = buffer[..got].get(from..).unwrap_or_default();
            out[position] = match parse(octets, salt_of(at.segment()), at.offset()) {
                Parsed::Found(Found::Message(message)) => Ok(Some(message)),
                _ => self.fetch(places[position], &mut alone),
            };
        }
    }

    fn fetch(&self, at: TempPlace, buffer: &mut Vec<u8>) -> TempOutcome {
        let (id, offset) = (at.0.segment(), at.0.offset());
        let damaged = |reason| {
            let path = segment::path(&self.directory, id);
            if self.table().contains(id) {
                Err(StoreError::TempDamaged {
                    path,
                    offset,
                    reason,
                })
            } else {
                // Released, and the file removed, while it was read.
                Ok(None)
            }
        };
        let mut length = FIRST_READ;
        loop {
            buffer.resize(length, 0);
            let Some(got) = self.read_at(id, offset, buffer)? else {
                return damaged("the file is gone");
            };
            match parse(&buffer[..got], salt_of(id), offset) {
                Parsed::Found(Found::Message(message)) => return Ok(Some(message)),
                Parsed::Found(_) => return damaged("it holds no message"),
                Parsed::Damaged(reason) => return damaged(reason),
                // A length is believed with memory only as far as the file goes.
                Parsed::Longer(wanted) if got < length || wanted <= length => {
                    return damaged("the file ends before it does");
                }
                Parsed::Longer(wanted) => match self.reaches(id, offset, wanted)? {
                    true => length = wanted,
                    false => return damaged("its length leads beyond the file"),
                },
            }
        }
    }

    fn reaches(&self, id: u32, offset: u32, length: usize) -> Result<bool, StoreError> {
        let failed = StoreError::io("read", &segment::path(&self.directory, id));
        match self.open.get(&*self.disk, &self.directory, id)? {
            Some(file) => {
                let bytes = file.len().map_err(failed)?;
                Ok(u64::from(offset) + length as u64 <= bytes)
            }
            None => Ok(false),
        }
    }

    /// Reads octets of a file; `None` if it no longer exists.
    fn read_at(
        &self,
        id: u32,
        offset: u32,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, StoreError> {
        let failed = StoreError::io("read", &segment::path(&self.directory, id));
        match self.open.get(&*self.disk, &self.directory, id)? {
            Some(file) => file
                .read_at(buffer, u64::from(offset))
                .map(Some)
                .map_err(failed),
            None => Ok(None),
        }
    }
}
