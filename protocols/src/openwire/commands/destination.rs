//! [`Destination`]: a queue or topic as OpenWire names it (openwire.md section 9).

use std::fmt;

use crate::openwire::error::Fault;
use crate::openwire::reader::Reader;
use crate::openwire::schema::{Object, absent, is_present, wire};
use crate::openwire::text::Text;
use crate::openwire::writer::Writer;

/// What a destination is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DestinationKind {
    /// A queue.
    #[default]
    Queue,
    /// A topic.
    Topic,
    /// A queue that ends with its connection.
    TempQueue,
    /// A topic that ends with its connection.
    TempTopic,
}

impl DestinationKind {
    const ALL: [Self; 4] = [Self::Queue, Self::Topic, Self::TempQueue, Self::TempTopic];

    fn of(type_id: u8) -> Result<Self, Fault> {
        let kind = type_id
            .checked_sub(100)
            .and_then(|kind| Self::ALL.get(usize::from(kind)));
        kind.copied().ok_or(Fault::UnexpectedType { type_id })
    }

    /// Whether it ends with its connection.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::TempQueue | Self::TempTopic)
    }

    /// Whether each message goes to one consumer.
    pub fn is_queue(self) -> bool {
        matches!(self, Self::Queue | Self::TempQueue)
    }

    /// What stands in front of a name of this kind, in the elements of a composite.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Queue => "queue://",
            Self::Topic => "topic://",
            Self::TempQueue => "temp-queue://",
            Self::TempTopic => "temp-topic://",
        }
    }
}

wire! {
    /// A queue or topic. Its name may be a wildcard or, with commas, a composite.
    #[derive(Eq, Hash)]
    fields Destination {
        /// The name, without the kind.
        physical_name: Option<Text>,
    } and {
        /// What it is.
        kind: DestinationKind,
    }
}

impl Destination {
    /// A destination of that kind and name.
    pub fn new(kind: DestinationKind, name: impl Into<Text>) -> Self {
        Self {
            physical_name: Some(name.into()),
            kind,
        }
    }

    pub(in crate::openwire) fn text_bytes(&self) -> usize {
        self.physical_name
            .as_ref()
            .map_or(0, |name| name.as_bytes().len())
    }

    /// A copy that shares no memory with a frame.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            physical_name: self.physical_name.as_ref().map(Text::detached),
            kind: self.kind,
        }
    }
}

impl Object for Destination {
    fn type_id(&self) -> u8 {
        100 + self.kind as u8
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.write_fields(writer);
    }

    fn read(type_id: u8, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let kind = DestinationKind::of(type_id)?;
        Ok(Self {
            kind,
            ..Self::read_fields(reader)?
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.prefix())?;
        match &self.physical_name {
            Some(name) => name.fmt(f),
            None => Ok(()),
        }
    }
}
