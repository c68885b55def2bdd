//! Primitive maps and lists (openwire.md section 7): the properties of a message, the body of a map message, the options
//! of WireFormatInfo. They are read in place, entry by entry, when somebody asks.

use bytes::Bytes;

use super::utf::JavaStr;

/// Strings of at least so many UTF-16 units are written in the form for long ones.
const BIG_STRING_UNITS: usize = 8_191;

/// How deep maps and lists may lie in each other.
const DEPTH_MAX: u32 = 32;

/// What is wrong with a map, list or stream of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// It ends too early.
    #[error("the values end too early, at octet {offset}")]
    Truncated {
        /// Where.
        offset: usize,
    },
    /// A length or count below zero.
    #[error("a length below zero at octet {offset}")]
    Negative {
        /// Where.
        offset: usize,
    },
    /// A type that values do not have.
    #[error("value type {type_id} at octet {offset} is unknown")]
    Type {
        /// Its number.
        type_id: u8,
        /// Where.
        offset: usize,
    },
    /// A string that is no modified UTF-8.
    #[error("the string at octet {offset} is no modified UTF-8")]
    Utf {
        /// Where.
        offset: usize,
    },
    /// Maps and lists too deep in each other.
    #[error("values lie more than 32 deep at octet {offset}")]
    Depth {
        /// Where.
        offset: usize,
    },
    /// A name, string or array that is too long to be written.
    #[error("{length} octets are too long for a name or value")]
    TooLong {
        /// How long.
        length: usize,
    },
}

/// A value. What is long is borrowed from the octets it was read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A boolean.
    Boolean(bool),
    /// 8 bits.
    Byte(i8),
    /// A UTF-16 unit.
    Char(u16),
    /// 16 bits.
    Short(i16),
    /// 32 bits.
    Int(i32),
    /// 64 bits.
    Long(i64),
    /// A number of double precision.
    Double(f64),
    /// A number of single precision.
    Float(f32),
    /// A string.
    String(JavaStr<'a>),
    /// Octets.
    Bytes(&'a [u8]),
    /// Named values.
    Map(Map<'a>),
    /// Values.
    List(List<'a>),
}

/// Octets that are read from the front.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.octets.len() - self.at
    }

    fn take(&mut self, octets: usize) -> Result<&'a [u8], ValueError> {
        if octets > self.left() {
            return Err(ValueError::Truncated { offset: self.at });
        }
        let taken = &self.octets[self.at..self.at + octets];
        self.at += octets;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let offset = self.at;
        self.take(N)?
            .try_into()
            .map_err(|_| ValueError::Truncated { offset })
    }

    fn length(&mut self) -> Result<usize, ValueError> {
        let offset = self.at;
        let length = i32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| ValueError::Negative { offset })
    }

    /// A count of things of at least `octets_min` each.
    fn count(&mut self, octets_min: usize) -> Result<usize, ValueError> {
        let offset = self.at;
        let count = self.length()?;
        if count > self.left() / octets_min {
            return Err(ValueError::Truncated { offset });
        }
        Ok(count)
    }

    fn string(&mut self, length: usize) -> Result<JavaStr<'a>, ValueError> {
        let offset = self.at;
        JavaStr::read(self.take(length)?).map_err(|at| ValueError::Utf {
            offset: offset + at,
        })
    }

    fn name(&mut self) -> Result<JavaStr<'a>, ValueError> {
        let length = u16::from_be_bytes(self.array()?);
        self.string(usize::from(length))
    }

    fn value(&mut self, depth: u32) -> Result<Value<'a>, ValueError> {
        let offset = self.at;
        let [type_id] = self.array()?;
        Ok(match type_id {
            0 => Value::Null,
            1 => Value::Boolean(self.array::<1>()? != [0]),
            2 => Value::Byte(i8::from_be_bytes(self.array()?)),
            3 => Value::Char(u16::from_be_bytes(self.array()?)),
            4 => Value::Short(i16::from_be_bytes(self.array()?)),
            5 => Value::Int(i32::from_be_bytes(self.array()?)),
            6 => Value::Long(i64::from_be_bytes(self.array()?)),
            7 => Value::Double(f64::from_be_bytes(self.array()?)),
            8 => Value::Float(f32::from_be_bytes(self.array()?)),
            9 => Value::String(self.name()?),
            10 => {
                let length = self.length()?;
                Value::Bytes(self.take(length)?)
            }
            11 => Value::Map(self.map(depth + 1)?),
            12 => Value::List(self.list(depth + 1)?),
            13 => {
                let length = self.length()?;
                Value::String(self.string(length)?)
            }
            _ => return Err(ValueError::Type { type_id, offset }),
        })
    }

    /// A map, whose entries are looked through to find its end.
    fn map(&mut self, depth: u32) -> Result<Map<'a>, ValueError> {
        if depth > DEPTH_MAX {
            return Err(ValueError::Depth { offset: self.at });
        }
        let Some(count) = self.map_count()? else {
            return Ok(Map::EMPTY);
        };
        let entries = *self;
        for _ in 0..count {
            self.name()?;
            self.value(depth)?;
        }
        Ok(Map {
            entries,
            count,
            depth,
        })
    }

    /// `None` for -1, a map that is null.
    fn map_count(&mut self) -> Result<Option<usize>, ValueError> {
        if self.octets[self.at..].starts_with(&[0xff; 4]) {
            self.at += 4;
            return Ok(None);
        }
        self.count(3).map(Some)
    }

    fn list(&mut self, depth: u32) -> Result<List<'a>, ValueError> {
        if depth > DEPTH_MAX {
            return Err(ValueError::Depth { offset: self.at });
        }
        let count = self.count(1)?;
        let values = *self;
        for _ in 0..count {
            self.value(depth)?;
        }
        Ok(List {
            values,
            count,
            depth,
        })
    }
}

/// Named values, in the order of the wire, which means nothing. A name that comes twice has its last value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map<'a> {
    entries: Cursor<'a>,
    count: usize,
    depth: u32,
}

impl<'a> Map<'a> {
    const EMPTY: Self = Self {
        entries: Cursor { octets: &[], at: 0 },
        count: 0,
        depth: 0,
    };

    /// The map at the front of `octets`. Only its count is looked at.
    ///
    /// # Errors
    /// If the count cannot be.
    pub fn read(octets: &'a [u8]) -> Result<Self, ValueError> {
        let mut entries = Cursor { octets, at: 0 };
        let count = entries.map_count()?;
        Ok(count.map_or(Self::EMPTY, |count| Self {
            entries,
            count,
            depth: 0,
        }))
    }

    /// The properties of a message; none are an empty map.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn of(properties: Option<&'a Bytes>) -> Result<Self, ValueError> {
        properties.map_or(Ok(Self::EMPTY), |octets| Self::read(octets))
    }

    /// How many entries it says it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries; after the first error there are no more.
    pub fn iter(
        &self,
    ) -> impl Iterator<Item = Result<(JavaStr<'a>, Value<'a>), ValueError>> + use<'a> {
        let (mut entries, depth) = (self.entries, self.depth);
        fused(self.count, move || {
            Ok((entries.name()?, entries.value(depth)?))
        })
    }

    /// The value of that name.
    ///
    /// # Errors
    /// What is wrong with any entry.
    pub fn get(&self, name: &str) -> Result<Option<Value<'a>>, ValueError> {
        let name = JavaStr::from(name);
        let mut found = None;
        for entry in self.iter() {
            let (key, value) = entry?;
            if key == name {
                found = Some(value);
            }
        }
        Ok(found)
    }
}

/// Values in order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct List<'a> {
    values: Cursor<'a>,
    count: usize,
    depth: u32,
}

impl<'a> List<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values; after the first error there are no more.
    pub fn iter(&self) -> impl Iterator<Item = Result<Value<'a>, ValueError>> + use<'a> {
        let (mut values, depth) = (self.values, self.depth);
        fused(self.count, move || values.value(depth))
    }
}

/// The values of a stream message: to the end, and neither maps nor lists.
pub(super) fn stream(octets: &[u8]) -> impl Iterator<Item = Result<Value<'_>, ValueError>> {
    let mut values = Cursor { octets, at: 0 };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || values.left() == 0 {
            return None;
        }
        let offset = values.at;
        let value = match values.octets[offset] {
            type_id @ (11 | 12) => Err(ValueError::Type { type_id, offset }),
            _ => values.value(0),
        };
        failed = value.is_err();
        Some(value)
    })
}

/// The string at the front of `octets` behind a length of 32 bits; `None` for the length -1.
pub(super) fn big_string(octets: &[u8]) -> Result<Option<JavaStr<'_>>, ValueError> {
    let mut cursor = Cursor { octets, at: 0 };
    if octets.starts_with(&[0xff; 4]) {
        return Ok(None);
    }
    let length = cursor.length()?;
    cursor.string(length).map(Some)
}

/// Calls `next` up to `count` times, and not again after an error.
fn fused<T>(
    count: usize,
    mut next: impl FnMut() -> Result<T, ValueError>,
) -> impl Iterator<Item = Result<T, ValueError>> {
    let mut left = count;
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let item = next();
        if item.is_err() {
            left = 0;
        }
        Some(item)
    })
}

/// Writes a map into a buffer.
#[derive(Debug)]
pub struct MapWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    count: i32,
}

impl<'a> MapWriter<'a> {
    /// Begins a map at the end of `out`; after each entry it is whole.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        Self {
            out,
            start,
            count: 0,
        }
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// If name or value is too long; the map is what it was.
    pub fn put<'n>(
        &mut self,
        name: impl Into<JavaStr<'n>>,
        value: &Value<'_>,
    ) -> Result<(), ValueError> {
        let before = self.out.len();
        let name = name.into();
        let written = push_short(self.out, name.as_bytes()).and_then(|()| push(self.out, value));
        if written.is_err() {
            self.out.truncate(before);
            return written;
        }
        self.count += 1;
        self.out[self.start..self.start + 4].copy_from_slice(&self.count.to_be_bytes());
        Ok(())
    }
}

/// Appends a value with its type: an element of a stream.
///
/// # Errors
/// If it is too long; `out` may have grown.
pub fn push(out: &mut Vec<u8>, value: &Value<'_>) -> Result<(), ValueError> {
    match value {
        Value::Null => out.push(0),
        Value::Boolean(value) => out.extend_from_slice(&[1, u8::from(*value)]),
        Value::Byte(value) => push_plain(out, 2, &value.to_be_bytes()),
        Value::Char(value) => push_plain(out, 3, &value.to_be_bytes()),
        Value::Short(value) => push_plain(out, 4, &value.to_be_bytes()),
        Value::Int(value) => push_plain(out, 5, &value.to_be_bytes()),
        Value::Long(value) => push_plain(out, 6, &value.to_be_bytes()),
        Value::Double(value) => push_plain(out, 7, &value.to_be_bytes()),
        Value::Float(value) => push_plain(out, 8, &value.to_be_bytes()),
        Value::String(value) if value.utf16_len() < BIG_STRING_UNITS => {
            out.push(9);
            push_short(out, value.as_bytes())?;
        }
        Value::String(value) => {
            out.push(13);
            push_long(out, value.as_bytes())?;
        }
        Value::Bytes(value) => {
            out.push(10);
            push_long(out, value)?;
        }
        Value::Map(map) => {
            out.push(11);
            let mut writer = MapWriter::new(out);
            for entry in map.iter() {
                let (name, value) = entry?;
                writer.put(name, &value)?;
            }
        }
        Value::List(list) => {
            out.push(12);
            let count = i32::try_from(list.count);
            let count = count.map_err(|_| ValueError::TooLong { length: list.count })?;
            out.extend_from_slice(&count.to_be_bytes());
            for value in list.iter() {
                push(out, &value?)?;
            }
        }
    }
    Ok(())
}

fn push_plain(out: &mut Vec<u8>, type_id: u8, octets: &[u8]) {
    out.push(type_id);
    out.extend_from_slice(octets);
}

fn push_short(out: &mut Vec<u8>, octets: &[u8]) -> Result<(), ValueError> {
    let too_long = |_| ValueError::TooLong {
        length: octets.len(),
    };
    let length = u16::try_from(octets.len()).map_err(too_long)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(octets);
    Ok(())
}

pub(super) fn push_long(out: &mut Vec<u8>, octets: &[u8]) -> Result<(), ValueError> {
    let too_long = |_| ValueError::TooLong {
        length: octets.len(),
    };
    let length = i32::try_from(octets.len()).map_err(too_long)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(octets);
    Ok(())
}
