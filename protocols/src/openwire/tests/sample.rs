//! Values of every declared type, made up or shown as JSON.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::openwire::cache::{Cacheable, CachedObject};
use crate::openwire::commands::{
    BlobFields, Command, DestinationKind, LocalTransactionId, MessageKind, StackFrame, Throwable,
    TransactionId, XaTransactionId,
};
use crate::openwire::schema::Object;
use crate::openwire::text::{Secret, Text};

/// A type of which values can be made up and shown.
pub(in crate::openwire) trait Sample: Sized {
    /// Some value.
    fn sample(random: &mut Random) -> Self;
    /// The fields that a version has, by the names of the wire in lower case.
    fn json(&self, version: u8) -> Value;
}

/// A stream of numbers that a seed decides.
pub(in crate::openwire) struct Random {
    state: u64,
    depth: u32,
    is_blob: bool,
}

impl Random {
    pub(in crate::openwire) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            depth: 0,
            is_blob: false,
        }
    }

    pub(in crate::openwire) fn next(&mut self) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(in crate::openwire) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("it is below a usize")
    }

    pub(in crate::openwire) fn enter(&mut self) {
        self.depth += 1;
    }

    pub(in crate::openwire) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether something that may be absent is there; less likely in the depth.
    fn is_there(&mut self) -> bool {
        let depth = self.depth as usize;
        self.below(2 + depth) == 0 && depth < 8
    }
}

impl Sample for bool {
    fn sample(random: &mut Random) -> Self {
        random.next().is_multiple_of(2)
    }

    fn json(&self, _: u8) -> Value {
        json!(self)
    }
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Sample for $type {
            #[allow(clippy::cast_possible_truncation, reason = "any value will do")]
            fn sample(random: &mut Random) -> Self {
                // Of all lengths, and of both signs.
                let number = random.next() >> random.below(64);
                if random.below(4) == 0 { number.wrapping_neg() as $type } else { number as $type }
            }

            fn json(&self, _: u8) -> Value {
                json!(self)
            }
        }
    )*};
}

numbers!(i8, i32, i64);

impl<const N: usize> Sample for [u8; N] {
    fn sample(random: &mut Random) -> Self {
        std::array::from_fn(|_| random.next().to_be_bytes()[0])
    }

    fn json(&self, _: u8) -> Value {
        json!(hex(self))
    }
}

impl Sample for Option<Text> {
    fn sample(random: &mut Random) -> Self {
        let texts = [
            "",
            "a",
            "ID:host-1-2-3:1",
            "nul\0",
            "\u{e4}\u{4e2d}",
            "\u{1f600}",
            "longer than the others",
        ];
        let surrogate = Bytes::from_static(b"\xed\xa0\xbd unpaired");
        random
            .is_there()
            .then(|| match random.below(texts.len() + 1) {
                0 => Text::read(surrogate).expect("it passes"),
                chosen => texts[chosen - 1].into(),
            })
    }

    fn json(&self, _: u8) -> Value {
        json!(self.as_ref().map(|text| text.to_str().into_owned()))
    }
}

impl Sample for Option<Secret> {
    fn sample(random: &mut Random) -> Self {
        <Option<Text>>::sample(random).map(Secret)
    }

    fn json(&self, version: u8) -> Value {
        self.clone().map(|Secret(text)| text).json(version)
    }
}

impl Sample for Option<Bytes> {
    fn sample(random: &mut Random) -> Self {
        random.is_there().then(|| {
            let length = random.below(40);
            (0..length)
                .map(|_| random.next().to_be_bytes()[0])
                .collect()
        })
    }

    fn json(&self, _: u8) -> Value {
        json!(self.as_ref().map(|octets| hex(octets)))
    }
}

impl<T: Object + Sample> Sample for Option<T> {
    fn sample(random: &mut Random) -> Self {
        random.is_there().then(|| T::sample(random))
    }

    fn json(&self, version: u8) -> Value {
        self.as_ref()
            .map_or(Value::Null, |object| object.json(version))
    }
}

impl<T: Cacheable + Sample> Sample for Option<Arc<T>> {
    fn sample(random: &mut Random) -> Self {
        random.is_there().then(|| Arc::new(T::sample(random)))
    }

    fn json(&self, version: u8) -> Value {
        self.as_ref()
            .map_or(Value::Null, |object| object.json(version))
    }
}

impl Sample for Option<CachedObject> {
    fn sample(random: &mut Random) -> Self {
        random.is_there().then(|| match random.below(4) {
            0 => CachedObject::ConnectionId(Arc::new(Sample::sample(random))),
            1 => CachedObject::SessionId(Arc::new(Sample::sample(random))),
            2 => CachedObject::ConsumerId(Arc::new(Sample::sample(random))),
            _ => CachedObject::ProducerId(Arc::new(Sample::sample(random))),
        })
    }

    fn json(&self, version: u8) -> Value {
        match self {
            None => Value::Null,
            Some(CachedObject::Destination(object)) => object.json(version),
            Some(CachedObject::TransactionId(object)) => object.json(version),
            Some(CachedObject::ConnectionId(object)) => object.json(version),
            Some(CachedObject::SessionId(object)) => object.json(version),
            Some(CachedObject::ConsumerId(object)) => object.json(version),
            Some(CachedObject::ProducerId(object)) => object.json(version),
            Some(CachedObject::BrokerId(object)) => object.json(version),
        }
    }
}

impl<T: Object + Sample> Sample for Option<Vec<Option<T>>> {
    fn sample(random: &mut Random) -> Self {
        random.is_there().then(|| {
            let length = random.below(3);
            (0..length).map(|_| Sample::sample(random)).collect()
        })
    }

    fn json(&self, version: u8) -> Value {
        let shown = |elements: &Vec<Option<T>>| {
            elements
                .iter()
                .map(|element| element.json(version))
                .collect()
        };
        self.as_ref().map_or(Value::Null, shown)
    }
}

impl Sample for Option<Box<Throwable>> {
    fn sample(random: &mut Random) -> Self {
        random.is_there().then(|| {
            random.enter();
            let frames = random.below(3);
            let frame = |random: &mut Random| StackFrame {
                class: Sample::sample(random),
                method: Sample::sample(random),
                file: Sample::sample(random),
                line: Sample::sample(random),
            };
            let throwable = Throwable {
                class: Sample::sample(random),
                message: Sample::sample(random),
                stack: (0..frames).map(|_| frame(random)).collect(),
                cause: Sample::sample(random),
            };
            random.leave();
            Box::new(throwable)
        })
    }

    fn json(&self, version: u8) -> Value {
        let Some(throwable) = self else {
            return Value::Null;
        };
        let frame = |frame: &StackFrame| {
            json!([
                frame.class.json(version),
                frame.method.json(version),
                frame.file.json(version),
                frame.line,
            ])
        };
        json!({
            "class": throwable.class.json(version),
            "message": throwable.message.json(version),
            "stack": throwable.stack.iter().map(frame).collect::<Vec<_>>(),
            "cause": throwable.cause.json(version),
        })
    }
}

impl Sample for Box<Command> {
    fn sample(random: &mut Random) -> Self {
        Box::new(Sample::sample(random))
    }

    fn json(&self, version: u8) -> Value {
        (**self).json(version)
    }
}

impl Sample for TransactionId {
    fn sample(random: &mut Random) -> Self {
        if Sample::sample(random) {
            Self::Local(LocalTransactionId::sample(random))
        } else {
            Self::Xa(XaTransactionId::sample(random))
        }
    }

    fn json(&self, version: u8) -> Value {
        match self {
            Self::Local(id) => id.json(version),
            Self::Xa(id) => id.json(version),
        }
    }
}

impl Sample for DestinationKind {
    fn sample(random: &mut Random) -> Self {
        [Self::Queue, Self::Topic, Self::TempQueue, Self::TempTopic][random.below(4)]
    }

    fn json(&self, _: u8) -> Value {
        json!(match self {
            Self::Queue => "ActiveMQQueue",
            Self::Topic => "ActiveMQTopic",
            Self::TempQueue => "ActiveMQTempQueue",
            Self::TempTopic => "ActiveMQTempTopic",
        })
    }
}

impl Sample for MessageKind {
    fn sample(random: &mut Random) -> Self {
        let kind = [
            Self::Plain,
            Self::Bytes,
            Self::Map,
            Self::Object,
            Self::Stream,
            Self::Text,
            Self::Blob,
        ][random.below(7)];
        random.is_blob = kind == Self::Blob;
        kind
    }

    fn json(&self, _: u8) -> Value {
        json!(match self {
            Self::Plain => "ActiveMQMessage",
            Self::Bytes => "ActiveMQBytesMessage",
            Self::Map => "ActiveMQMapMessage",
            Self::Object => "ActiveMQObjectMessage",
            Self::Stream => "ActiveMQStreamMessage",
            Self::Text => "ActiveMQTextMessage",
            Self::Blob => "ActiveMQBlobMessage",
        })
    }
}

impl Sample for Option<Box<BlobFields>> {
    fn sample(random: &mut Random) -> Self {
        // The kind was made up just before.
        random.is_blob.then(|| Box::new(Sample::sample(random)))
    }

    fn json(&self, version: u8) -> Value {
        self.as_ref().map_or(Value::Null, |blob| blob.json(version))
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
