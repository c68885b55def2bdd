//! STOMP 1.0, 1.1 and 1.2: octets to typed commands and typed frames to octets.
//!
//! Reading: [`Decoder`] cuts a [`Frame`] out of any pieces of input, [`ClientCommand::parse`]
//! makes it a typed command. Writing: [`MessageTemplate`] for deliveries, the `encode_…`
//! functions for the other server frames, [`ClientFrameWriter`] for client frames.
//!
//! Rules are cited by their ids: CON connecting, FRM frames, SND sending, MSG messages,
//! REC receipts, ERR errors.

mod command;
mod cut;
mod decode;
mod encode;
mod escape;
mod fault;
mod frame;
mod head;
mod heartbeat;
mod id;
mod known;
mod repeat;
mod user_head;
mod version;

pub use command::{
    Ack, AckMode, AckTarget, ClientCommand, Connect, Disconnect, Prefetch, ScheduleHeaders,
    SchedulerAction, Send, Subscribe, TransactionCommand, Unsubscribe,
};
pub use cut::Cutter;
pub use decode::{DecodeOptions, Decoder, idle_prefix};
pub use encode::{
    ClientFrameWriter, Connected, ErrorFrame, FRAME_END, LineCache, MessageFields, MessageRef,
    MessageTemplate, encode_connected, encode_error, encode_receipt, error_body,
};
pub use escape::{Escapes, escape_into, plain_into, undefined_escape, unescape};
pub use fault::FrameFault;
pub use frame::{Command, Frame, Headers};
pub use heartbeat::{HeartBeat, HeartBeatFault, HeartBeatTimers};
pub use id::{MessageId, encode_ack_id, encode_message_id, parse_ack_id, parse_message_id};
pub use known::Known;
pub use user_head::{HeadFlags, push_header};
pub use version::{SUPPORTED_VERSIONS, Version};
