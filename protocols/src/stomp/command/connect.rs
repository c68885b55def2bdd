//! CONNECT and STOMP. Spec: STOMP 1.2, Connecting; rules CON-5 … CON-13.

use std::borrow::Cow;
use std::fmt;

use super::super::fault::FrameFault;
use super::super::frame::{Command, Frame, Headers, trim_cow};
use super::super::heartbeat::HeartBeat;
use super::super::known::Known;
use super::super::version::Version;

/// A client's wish to log in. Values are never unescaped (CON-10); its `Debug` hides the
/// passcode.
#[derive(Clone)]
pub struct Connect<'a> {
    /// Whether the command was `STOMP`; it means the same.
    pub is_stomp: bool,
    /// The highest version in common (CON-5).
    pub version: Version,
    /// `host`: information only (CON-6).
    pub host: Option<Cow<'a, str>>,
    /// `login`.
    pub login: Option<Cow<'a, str>>,
    /// `passcode`.
    pub passcode: Option<Cow<'a, str>>,
    /// `client-id`, or `activemq.clientId` (CON-8, CON-11); an empty one counts as none.
    pub client_id: Option<Cow<'a, str>>,
    /// The client's numbers; `None`: no header, so the listener's default (CON-12).
    pub heart_beat: Option<HeartBeat>,
    /// `request-id`, or `receipt`: answered on CONNECTED (CON-9).
    pub request_id: Option<Cow<'a, str>>,
    /// All headers, for `activemq.…` properties (CON-11).
    pub headers: Headers<'a>,
}

impl<'a> Connect<'a> {
    pub(super) fn parse(frame: &Frame<'a>) -> Result<Self, FrameFault> {
        let headers = frame.headers;
        let accept_version = headers.get(Known::AcceptVersion);
        let version =
            Version::negotiate(accept_version.as_deref()).ok_or(FrameFault::NoCommonVersion)?;
        // A client that offers only 1.0 in so many words is trimmed as one that offers
        // nothing (FRM-6).
        let get = |known| {
            let value = headers.get(known);
            if version == Version::V10 {
                value.map(trim_cow)
            } else {
                value
            }
        };
        let heart_beat = match get(Known::HeartBeat) {
            Some(value) => Some(HeartBeat::parse(&value).map_err(|_| FrameFault::HeartBeat {
                value: value.into_owned(),
            })?),
            None => None,
        };
        Ok(Self {
            is_stomp: frame.command == Command::Stomp,
            version,
            host: get(Known::Host),
            login: get(Known::Login),
            passcode: get(Known::Passcode),
            client_id: get(Known::ClientId)
                .or_else(|| get(Known::ActivemqClientId))
                .filter(|id| !id.is_empty()),
            heart_beat,
            request_id: get(Known::RequestId).or_else(|| get(Known::Receipt)),
            headers,
        })
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("host", &self.host)
            .field("login", &self.login)
            .field("client_id", &self.client_id)
            .field("heart_beat", &self.heart_beat)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
