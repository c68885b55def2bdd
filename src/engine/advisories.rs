//! Advisories at work: events become messages on topics of their own, if somebody could receive them (ADV-1 to ADV-6).
//!
//! - While nobody subscribes to any advisory topic, whoever has something to report looks at one number and goes on.
//! - What is noted under a lock is published when the locks are gone, in order, by [`Engine::run`].
//! - Advisory topics are topics without a store and with a memory account of their own, so that they neither persist nor
//!   hold up a producer (ADV-2). Nothing is reported of them (ADV-5).
//! - Lock order: `publishing`, registry, destination; `pending` is innermost.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Engine;
use super::cell::{Cell, Journaled, Machine, Work};
use super::feeds::{Feed, Feeds};
use super::memory::Memory;
use super::properties::PropertyReader;
use crate::broker::advisory::{Change, Event, MESSAGE_TYPE, PREFIX, Property};
use crate::broker::queue::Incoming;
use crate::broker::selector::{Header, Value};
use crate::broker::{Destination, Entry, Kind, Message, MessageId};

/// Events that may wait for the end of a step; what is beyond is lost and counted.
const PENDING_MAX: usize = 1 << 16;

/// Advisory topics that are made until those are looked for whose destination is gone.
const SWEEP_TOPICS: u32 = 1024;

/// Whether there are advisories, and what they say of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvisorySettings {
    /// Whether anything is reported at all (ADV-4).
    pub enabled: bool,
    /// The broker's name.
    pub broker_name: String,
    /// Where it can be reached.
    pub broker_url: String,
}

impl Default for AdvisorySettings {
    fn default() -> Self {
        Self {
            enabled: true,
            broker_name: "ferrymq".to_owned(),
            broker_url: String::new(),
        }
    }
}

/// What is to be reported, and whether anybody listens.
pub struct Advisories {
    enabled: bool,
    properties: Arc<AdvisoryProperties>,
    /// Subscriptions to advisory topics.
    listeners: AtomicUsize,
    is_any_pending: AtomicBool,
    pending: Mutex<Vec<Event>>,
    lost: AtomicU64,
    /// Keeps what several threads publish in the order in which it was noted.
    publishing: Mutex<()>,
    /// Messages so far.
    published: AtomicU64,
    /// What advisories hold, which counts against nothing.
    pub(super) memory: Arc<Memory>,
}

impl Advisories {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(settings: &AdvisorySettings) -> Self {
        Self {
            enabled: settings.enabled,
            properties: Arc::new(AdvisoryProperties::new(settings)),
            listeners: AtomicUsize::new(0),
            is_any_pending: AtomicBool::new(false),
            pending: Mutex::default(),
            lost: AtomicU64::new(0),
            publishing: Mutex::default(),
            published: AtomicU64::new(0),
            memory: Arc::new(Memory::new(u64::MAX)),
        }
    }

    /// What advisories say, for who renders them or selects by it.
    #[must_use]
    pub fn properties(&self) -> &Arc<AdvisoryProperties> {
        &self.properties
    }

    /// Whether somebody could receive an advisory.
    #[inline]
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) != 0
    }

    /// Notes an event, if somebody could receive it. It is published by the next [`Engine::run`].
    pub fn note(&self, event: impl FnOnce() -> Event) {
        if self.are_wanted() {
            self.push(event());
        }
    }

    fn push(&self, event: Event) {
        if event.of().is_some_and(Destination::is_advisory) {
            return;
        }
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() < PENDING_MAX {
            pending.push(event);
            self.is_any_pending.store(true, Ordering::Release);
        } else if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                pending_max = PENDING_MAX,
                "too much to report at once: advisories are lost"
            );
        }
    }

    /// Whether something is to be published.
    pub(super) fn are_pending(&self) -> bool {
        self.is_any_pending.load(Ordering::Acquire)
    }

    fn take(&self) -> Vec<Event> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_any_pending.store(false, Ordering::Release);
        std::mem::take(&mut *pending)
    }
}

impl Engine {
    /// Publishes what was noted.
    fn publish_advisories(self: &Arc<Self>, work: &mut Work) {
        let publishing = &self.advisories.publishing;
        let _in_order = publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_pending(work);
    }

    /// Publishes what was noted, if anything was.
    pub fn publish_noted(self: &Arc<Self>, work: &mut Work) {
        if self.advisories.are_pending() {
            self.publish_advisories(work);
        }
    }

    fn publish_pending(&self, work: &mut Work) {
        for event in self.advisories.take() {
            let topic = event.topic();
            // Nobody has subscribed to this one.
            let Some(cell) = self.registry.advisory_topic(&topic) else {
                continue;
            };
            let message = Arc::new(self.advisory(event));
            let sent = cell.send(self.clock.wall_ms(), &mut vec![message], work);
            debug_assert!(sent.is_ok(), "nothing of it is stored");
        }
        if self.registry.has_made_advisories(SWEEP_TOPICS) {
            self.sweep_advisory_topics(work);
        }
    }

    /// Removes topics about destinations that are gone, which somebody has joined who listens to all.
    fn sweep_advisory_topics(&self, work: &mut Work) {
        let now_ms = self.clock.wall_ms();
        for cell in self.registry.all() {
            let is_past = cell.destination.is_advisory()
                && about(&cell.destination.name).is_some_and(|(kind, name)| {
                    let named = Destination {
                        kind,
                        name: name.into(),
                    };
                    let temporary = Destination::temporary(kind, name);
                    self.registry.get(&named).is_none() && self.registry.get(&temporary).is_none()
                });
            if is_past {
                for feeds in self.registry.watching(&cell.destination) {
                    feeds.leave(&cell, now_ms, work);
                }
            }
        }
        self.registry.remove_unused_advisories();
    }

    fn advisory(&self, event: Event) -> Message {
        let serial = self.advisories.published.fetch_add(1, Ordering::Relaxed) + 1;
        // No connection has this number.
        let origin = self.epoch << 32;
        let mut message = Message::reporting(MessageId { origin, serial }, Arc::new(event));
        message.timestamp_ms = self.clock.wall_ms();
        message
    }

    /// A subscription to advisory topics begins; to be called before it is made, so that it misses nothing.
    pub fn begin_listening(&self) {
        if self.advisories.enabled {
            self.advisories.listeners.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A subscription to advisory topics has ended. Topics that nobody listens to any more go.
    pub fn end_listening(&self) {
        if self.advisories.enabled {
            self.advisories.listeners.fetch_sub(1, Ordering::SeqCst);
        }
        self.registry.remove_unused_advisories();
    }

    /// Tells one listener of all that was here before it came: connections, destinations, consumers, producers. What
    /// comes at the same moment may be told twice.
    pub fn replay_advisories(self: &Arc<Self>, listener: &Listener<'_>, work: &mut Work) {
        if !self.advisories.enabled {
            return;
        }
        let publishing = &self.advisories.publishing;
        let _in_order = publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish_pending(work);
        let destinations = self
            .registry
            .all()
            .into_iter()
            .map(|cell| Event::Destination {
                change: Change::Added,
                of: cell.destination.clone(),
                owner: cell.owner.get().map(ToString::to_string),
            });
        for event in destinations.chain(self.roster.present()) {
            if event.of().is_some_and(Destination::is_advisory) {
                continue;
            }
            if let Some(feed) = listener.feed(self, &event.topic()) {
                self.tell(&feed, event, work);
            }
        }
    }

    /// Gives an advisory to one consumer only.
    fn tell(&self, feed: &Feed, event: Event, work: &mut Work) {
        let message = Arc::new(self.advisory(event));
        let now_ms = self.clock.wall_ms();
        feed.cell.step(work, Journaled::default(), |machine, out| {
            if let Machine::Topic(topic) = machine {
                let sequence = topic.reserve(1);
                let entry = Entry::held(message, None);
                topic.present(now_ms, feed.key, Incoming { sequence, entry }, out);
            }
        });
    }
}

/// A subscription to advisory topics.
pub enum Listener<'a> {
    /// To one.
    One(&'a Feed),
    /// To several.
    Many(&'a Feeds),
}

impl Listener<'_> {
    /// Its consumer on `topic`, if it has subscribed to that.
    fn feed(&self, engine: &Engine, topic: &Destination) -> Option<Feed> {
        match self {
            Self::One(feed) => (feed.cell.destination == *topic).then(|| Feed::clone(feed)),
            Self::Many(feeds) => {
                let joined = feeds.feed_of(topic);
                joined.or_else(|| {
                    if !feeds.matches(topic) {
                        return None;
                    }
                    engine.registry.advisory_topic(topic)?;
                    feeds.feed_of(topic)
                })
            }
        }
    }
}

/// The destination that the advisory topic `name` is about, if it is about one: `Consumer.Queue.orders`.
fn about(name: &str) -> Option<(Kind, &str)> {
    let mut levels = name.strip_prefix(PREFIX)?.splitn(3, '.');
    let kind = match levels.nth(1)? {
        "Queue" => Kind::Queue,
        "Topic" => Kind::Topic,
        _ => return None,
    };
    Some((kind, levels.next()?))
}

/// Reads what advisories say, for selectors.
pub struct AdvisoryProperties {
    constants: [(&'static str, String); 3],
}

impl AdvisoryProperties {
    /// What every advisory says of the broker it comes from.
    #[must_use]
    pub fn new(settings: &AdvisorySettings) -> Self {
        let name = &settings.broker_name;
        Self {
            constants: [
                ("originBrokerId", format!("ID:{name}")),
                ("originBrokerName", name.clone()),
                ("originBrokerURL", settings.broker_url.clone()),
            ],
        }
    }

    /// The properties that are the same on all advisories.
    #[must_use]
    pub fn constants(&self) -> &[(&'static str, String)] {
        &self.constants
    }
}

impl PropertyReader for AdvisoryProperties {
    fn property<'m>(&self, message: &'m Message, name: &str) -> Option<Value<'m>> {
        let mut constants = self.constants.iter();
        if let Some((_, value)) = constants.find(|(known, _)| *known == name) {
            return Some(Value::Str(Cow::Owned(value.clone())));
        }
        let properties = message.event()?.properties();
        let (_, value) = properties.into_iter().find(|(known, _)| *known == name)?;
        match value {
            Property::Text(text) => Some(Value::Str(Cow::Owned(text))),
            Property::Count(count) => Some(Value::I64(i64::try_from(count).unwrap_or(i64::MAX))),
            // Each wire writes ids in its own way.
            Property::Message(_) => None,
        }
    }

    fn header<'m>(&self, _: &'m Message, header: Header) -> Option<Value<'m>> {
        (header == Header::Type).then_some(Value::Str(Cow::Borrowed(MESSAGE_TYPE)))
    }
}

/// The advisory topics among cells that nobody but the registry refers to.
pub(super) fn is_unused(cell: &Arc<Cell>) -> bool {
    cell.destination.is_advisory() && Arc::strong_count(cell) == 1
}
