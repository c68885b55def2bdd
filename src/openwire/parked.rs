//! Commands that wait for space (SND-5): sends, and whatever of their transactions comes behind them. Acknowledgements
//! and everything else pass them.

use std::collections::VecDeque;

use ferrymq_protocols::openwire::commands::Command;

use crate::broker::governor::{Cause, Resource};
use crate::engine::governor::Wait;

/// A command that waits.
#[derive(Debug)]
pub(super) struct ParkedCommand {
    pub(super) command: Command,
    /// Since when, in monotonic milliseconds.
    pub(super) since_ms: u64,
}

/// Commands in the order in which they came. They wait for what the oldest one waits for.
#[derive(Default)]
pub(super) struct Parked {
    commands: VecDeque<ParkedCommand>,
    bytes: usize,
    /// The wait as others see it, and what it is about.
    wait: Option<(Subject, Wait)>,
    lacks_memory: bool,
    lacks_store: bool,
}

/// What a wait is about: the numbers of the destinations that lack room.
pub(super) type Subject = Vec<u32>;

/// What a command costs beside the content of its message.
const COMMAND_BYTES: usize = 1024;

fn bytes(command: &Command) -> usize {
    match command {
        Command::Message(message) => message.window_bytes(),
        _ => COMMAND_BYTES,
    }
}

impl Parked {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Octets of those that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `command` has to wait if another one does.
    pub(super) fn holds_back(&self, command: &Command) -> bool {
        !self.is_empty()
            && match command {
                Command::Message(_) | Command::TransactionInfo(_) => true,
                Command::MessageAck(ack) => ack.transaction_id.is_some(),
                _ => false,
            }
    }

    /// The oldest one waits for this; `begin` begins the wait if there was none for the same.
    pub(super) fn set_causes(
        &mut self,
        about: Subject,
        causes: Vec<Cause>,
        begin: impl FnOnce(Vec<Cause>) -> Wait,
    ) {
        let lacks = |wanted: Resource| {
            let mut causes = causes.iter();
            causes.any(|cause| matches!(cause, Cause::Full(account) if account.resource == wanted))
        };
        (self.lacks_memory, self.lacks_store) = (lacks(Resource::Memory), lacks(Resource::Store));
        match &mut self.wait {
            Some((known, wait)) if *known == about => wait.set_causes(causes),
            _ => self.wait = Some((about, begin(causes))),
        }
    }

    /// Whether it is memory and whether it is the store that the oldest one waits for. Of the end of other waits nobody tells.
    pub(super) fn lacks(&self) -> (bool, bool) {
        (self.lacks_memory, self.lacks_store)
    }

    /// Ends the wait if it is over, and tells how much waits otherwise.
    pub(super) fn settle(&mut self, now_ms: u64) {
        let Some((_, wait)) = &mut self.wait else {
            return;
        };
        wait.set_size(now_ms, self.commands.len() as u64, self.bytes as u64);
        if self.commands.is_empty() {
            self.wait = None;
            (self.lacks_memory, self.lacks_store) = (false, false);
        }
    }

    /// Adds one behind all others.
    pub(super) fn push(&mut self, parked: ParkedCommand) {
        self.bytes += bytes(&parked.command);
        self.commands.push_back(parked);
    }

    /// Puts one back before all others.
    pub(super) fn put_back(&mut self, parked: ParkedCommand) {
        self.bytes += bytes(&parked.command);
        self.commands.push_front(parked);
    }

    /// Takes the oldest one.
    pub(super) fn take(&mut self) -> Option<ParkedCommand> {
        let parked = self.commands.pop_front()?;
        self.bytes -= bytes(&parked.command);
        Some(parked)
    }
}
