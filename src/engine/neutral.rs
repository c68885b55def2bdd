//! A message as no wire has it: what crosses from one to another (DESIGN: text or bytes).

use bytes::Bytes;

use crate::broker::Destination;
use crate::broker::selector::Value;

/// What a message says, whichever wire it came in on.
#[derive(Clone, Debug, PartialEq)]
pub struct Neutral {
    /// Its body.
    pub body: Body,
    /// The application's properties, in order.
    pub properties: Vec<(String, Value<'static>)>,
    /// Where the answer goes.
    pub reply_to: Option<Destination>,
    /// JMSCorrelationID.
    pub correlation_id: Option<String>,
    /// JMSType.
    pub jms_type: Option<String>,
    /// JMSXGroupID and JMSXGroupSeq.
    pub group: Option<(String, i32)>,
    /// JMSXUserID.
    pub user_id: Option<String>,
}

/// A body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Text.
    Text(String),
    /// Octets.
    Bytes(Bytes),
}

impl Neutral {
    /// A message that could not be read in the form of its wire: it says so, and nothing else.
    #[must_use]
    pub fn unreadable() -> Self {
        let text = Value::Str("the message cannot be read".into());
        Self {
            body: Body::Bytes(Bytes::new()),
            properties: vec![("transformation-error".to_owned(), text)],
            reply_to: None,
            correlation_id: None,
            jms_type: None,
            group: None,
            user_id: None,
        }
    }
}
