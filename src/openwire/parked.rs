//! Commands that wait for space (SND-5): sends, and whatever of their transactions comes behind them. Acknowledgements
//! and everything else pass them.

use std::collections::VecDeque;

use ferrymq_protocols::openwire::commands::Command;

/// Commands in the order in which they came.
#[derive(Default)]
pub(super) struct Parked {
    commands: VecDeque<Command>,
    bytes: usize,
}

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

    /// Adds one behind all others.
    pub(super) fn push(&mut self, command: Command) {
        self.bytes += bytes(&command);
        self.commands.push_back(command);
    }

    /// Puts one back before all others.
    pub(super) fn put_back(&mut self, command: Command) {
        self.bytes += bytes(&command);
        self.commands.push_front(command);
    }

    /// Takes the oldest one.
    pub(super) fn take(&mut self) -> Option<Command> {
        let command = self.commands.pop_front()?;
        self.bytes -= bytes(&command);
        Some(command)
    }
}
