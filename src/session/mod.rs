//! One connection, whatever its protocol: what it subscribed to, its transactions, its batch of sends, and
//! the loop that reads and writes.

mod acknowledgements;
mod alarm;
pub mod link;
mod once;
mod peer;
mod presence;
mod schedule;
mod stalled;
mod state;
mod temporary;
mod transactions;

pub use once::Once;
pub use peer::Peer;
pub use schedule::Cancel;
pub use state::{Answer, Session, SubscribeRequest, Subscribed, feed_serial};
pub use temporary::TemporaryError;
pub use transactions::{Bounds, TransactionError};
