//! Temporary destinations of a connection, and how their names look to it and to others (DST-9, DST-10).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::names::Names;
use super::namespace;
use crate::broker::{Destination, Kind};
use crate::engine::cell::Cell;
use crate::session::Session;

/// What a reply header begins with in the lines of a message.
const REPLY_TO: &[u8] = b"reply-to:";

/// The temporary destinations of one connection by its own names.
#[derive(Default)]
pub(super) struct Temporaries {
    by_name: HashMap<(Kind, String), Arc<Cell>>,
    /// Shared with the encoders of its subscriptions.
    pub(super) names: Arc<OwnNames>,
}

/// The connection's names of its temporary destinations, by what others call them.
#[derive(Default)]
pub(super) struct OwnNames {
    /// Whether there are any.
    any: AtomicBool,
    /// Its namespace, if it is in one.
    inside: OnceLock<Inside>,
    by_remote: Mutex<HashMap<String, String>>,
}

/// What a connection of a namespace does not see, and what it sees instead.
struct Inside {
    /// What names of all its destinations begin with in the broker (SEC-9).
    prefix: String,
    /// How it writes destinations.
    written: Names,
}

impl Temporaries {
    /// The temporary destination `name` of this connection, made by first use.
    pub(super) fn get(
        &mut self,
        session: &mut Session,
        prefix: &str,
        kind: Kind,
        name: &str,
    ) -> Arc<Cell> {
        let index = self.by_name.len() + 1;
        let entry = self.by_name.entry((kind, name.to_owned()));
        let cell = entry.or_insert_with(|| {
            // No colon, which headers would have to escape.
            let id = format!("{prefix}ID-{:x}-{index}", session.origin());
            let cell = session.create_temporary(kind, &id);
            self.names.add(&cell.destination, shown(kind, name));
            cell
        });
        Arc::clone(cell)
    }

    /// Whether there is one of that name.
    pub(super) fn has(&self, kind: Kind, name: &str) -> bool {
        self.by_name.contains_key(&(kind, name.to_owned()))
    }

    /// The temporary destination of this connection that others call so.
    pub(super) fn by_destination(&self, destination: &Destination) -> Option<Arc<Cell>> {
        let mut own = self.by_name.values();
        own.find(|cell| cell.destination == *destination).cloned()
    }
}

/// How a connection sees its own temporary destination.
pub(super) fn shown(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Queue => format!("/temp-queue/{name}"),
        Kind::Topic => format!("/temp-topic/{name}"),
    }
}

impl OwnNames {
    fn add(&self, destination: &Destination, own: String) {
        let mut names = self
            .by_remote
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        names.insert(destination.to_string(), own);
        self.any.store(true, Ordering::Release);
    }

    /// Says what names begin with that the connection does not see, and how it writes destinations.
    pub(super) fn set_inside(&self, prefix: &str, written: &Names) {
        if !prefix.is_empty() {
            let inside = Inside {
                prefix: prefix.to_owned(),
                written: written.clone(),
            };
            // A connection says CONNECT once.
            drop(self.inside.set(inside));
        }
    }

    /// How the connection sees a destination, written as `written` says.
    pub(super) fn shown(&self, destination: &Destination, written: &Names) -> String {
        let found = self.find(&destination.to_string());
        found.unwrap_or_else(|| written.shown(destination))
    }

    /// How it sees a destination that others call so, if that differs.
    pub(super) fn find(&self, remote: &str) -> Option<String> {
        if let Some(own) = self.find_temporary(remote) {
            return Some(own);
        }
        let inside = self.inside.get()?;
        namespace::leave_text(remote, &inside.prefix, &inside.written)
    }

    fn find_temporary(&self, remote: &str) -> Option<String> {
        let names = self
            .by_remote
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        names.get(remote).cloned()
    }

    /// The lines of a message with `reply-to` as its reader sees it, if that differs.
    pub(super) fn localize(&self, head: &[u8]) -> Option<Vec<u8>> {
        if !self.any.load(Ordering::Acquire) && self.inside.get().is_none() {
            return None;
        }
        let (at, value) = reply_to(head)?;
        let own = self.find(std::str::from_utf8(value).ok()?)?;
        let mut out = head[..at].to_vec();
        out.extend_from_slice(own.as_bytes());
        out.extend_from_slice(&head[at + value.len()..]);
        Some(out)
    }
}

/// Writes `remote` over the value of `reply-to` in the lines of a message.
pub(super) fn set_reply_to(head: &mut Vec<u8>, remote: &str) {
    if let Some((at, value)) = reply_to(head) {
        let end = at + value.len();
        head.splice(at..end, remote.bytes());
    }
}

/// Where the value of `reply-to` begins, and the value.
fn reply_to(head: &[u8]) -> Option<(usize, &[u8])> {
    let mut from = 0;
    for line in head.split_inclusive(|octet| *octet == b'\n') {
        if let Some(value) = line.strip_prefix(REPLY_TO) {
            let value = value.strip_suffix(b"\n").unwrap_or(value);
            return Some((from + REPLY_TO.len(), value));
        }
        from += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_header_is_found_and_replaced() {
        let mut head = b"a:reply-to:x\nreply-to:/temp-queue/x\nb:1\n".to_vec();
        set_reply_to(&mut head, "/remote-temp-queue/ID-1-1");
        let text = String::from_utf8(head.clone()).unwrap();
        assert_eq!(
            text,
            "a:reply-to:x\nreply-to:/remote-temp-queue/ID-1-1\nb:1\n"
        );
        let names = OwnNames::default();
        assert_eq!(names.localize(&head), None);
        let destination = Destination::temporary(Kind::Queue, "ID-1-1");
        names.add(&destination, "/temp-queue/x".to_owned());
        let own = names.localize(&head).unwrap();
        assert_eq!(own, b"a:reply-to:x\nreply-to:/temp-queue/x\nb:1\n");
        assert_eq!(names.localize(b"reply-to:/queue/other\n"), None);
    }
}
