//! What an operator decides about one queue, as plain data.

use crate::broker::redelivery::{OnNack, RedeliveryPolicy};

/// The rules of one queue; given at its creation and again on every reload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueuePolicy {
    /// Delays and the limit of redeliveries (RED-1).
    pub redelivery: RedeliveryPolicy,
    /// What a NACK does (NAK-2).
    pub on_nack: OnNack,
    /// Whether the queue is itself a dead-letter queue, from which nothing is dead-lettered (DLQ-5).
    pub is_dead_letter_queue: bool,
    /// Whether messages of higher JMS priority go first (PRE-8).
    pub prioritized: bool,
    /// Whether every consumer counts as exclusive (PRE-9).
    pub exclusive_by_default: bool,
    /// Whether one consumer is filled before the next gets anything, instead of turns (PRE-5). With an
    /// exclusive consumer a delayed message also holds up all behind it (RED-4).
    pub strict_order_dispatch: bool,
    /// Whether consumers of higher priority go first (PRE-5).
    pub use_consumer_priority: bool,
    /// Consumers to wait for before anything is delivered; 0 does not wait (PRE-6).
    pub consumers_before_dispatch: u32,
    /// Milliseconds after the first consumer before anything is delivered; 0 does not wait (PRE-6).
    pub time_before_dispatch_ms: u64,
    /// Whether a delayed message holds back the rest of its group (GRP-8).
    pub group_redelivery_holds: bool,
    /// Whether idle groups move when a consumer joins (GRP-5).
    pub group_rebalance: GroupRebalance,
    /// Milliseconds without a message after which a group is forgotten (GRP-6).
    pub group_idle_timeout_ms: u64,
    /// Milliseconds from one sweep of expired messages to the next; 0 never sweeps (EXP-2).
    pub expire_messages_period_ms: u64,
    /// Whether a consumer that leaves its window to the broker gets one that adapts to it (PRE-7).
    pub adaptive_prefetch: bool,
    /// After how many milliseconds without a delivery a queue is said to stand still that could deliver; 0: never.
    pub stall_after_ms: u64,
}

/// What happens to groups when a consumer joins (GRP-5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupRebalance {
    /// They stay with their owners.
    #[default]
    Never,
    /// Those without an unacknowledged message are assigned anew.
    Idle,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        Self {
            redelivery: RedeliveryPolicy::default(),
            on_nack: OnNack::default(),
            is_dead_letter_queue: false,
            prioritized: false,
            exclusive_by_default: false,
            strict_order_dispatch: false,
            use_consumer_priority: true,
            consumers_before_dispatch: 0,
            time_before_dispatch_ms: 0,
            group_redelivery_holds: true,
            group_rebalance: GroupRebalance::Never,
            group_idle_timeout_ms: 3_600_000,
            expire_messages_period_ms: 30_000,
            adaptive_prefetch: true,
            stall_after_ms: 5000,
        }
    }
}
