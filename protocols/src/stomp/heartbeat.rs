//! Heart-beats: reading the header, agreeing on intervals, and when what is due.
//!
//! Pure arithmetic: times are milliseconds of any clock the caller keeps.
//!
//! Spec: STOMP 1.2, Heart-beating; rules CON-12 … CON-16.

use crate::decimal::parse_u64;

use super::frame::trim_blanks;

/// The two numbers of a `heart-beat` header, in milliseconds, from its sender's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeat {
    /// The sender can send an octet this often; 0 it cannot.
    pub send_ms: u64,
    /// The sender wants an octet this often; 0 it does not care.
    pub want_ms: u64,
}

/// A `heart-beat` header that is not two non-negative integers (CON-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("heart-beat is not two non-negative integers")]
pub struct HeartBeatFault;

impl HeartBeat {
    /// Reads `cx,cy`; blanks around the numbers are tolerated.
    ///
    /// # Errors
    /// [`HeartBeatFault`] for anything else: `0`, `T,0`, `100,10,50`, `-1,0`.
    pub fn parse(value: &str) -> Result<Self, HeartBeatFault> {
        let (send, want) = value.split_once(',').ok_or(HeartBeatFault)?;
        let number = |text| parse_u64(trim_blanks(text).as_bytes()).ok_or(HeartBeatFault);
        Ok(Self {
            send_ms: number(send)?,
            want_ms: number(want)?,
        })
    }

    /// What the server answers to a client's numbers (CON-13): it sends as often as the
    /// client wants and wants as often as the client can. A number above 0 is raised to
    /// `min_ms` and, unless `max_ms` is 0, lowered to it.
    pub fn negotiate(client: Self, min_ms: u64, max_ms: u64) -> Self {
        let bounded = |value: u64| match value {
            0 => 0,
            _ if max_ms > 0 => value.min(max_ms).max(min_ms),
            _ => value.max(min_ms),
        };
        Self {
            send_ms: bounded(client.want_ms),
            want_ms: bounded(client.send_ms),
        }
    }
}

/// When a connection owes an octet and when its peer counts as dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeatTimers {
    send_ms: u64,
    dead_after_ms: u64,
}

impl HeartBeatTimers {
    /// From our own numbers as agreed ([`HeartBeat::negotiate`]); a silent peer is given
    /// `grace` times its interval (CON-15, default 2.0; below 1.0 counts as 1.0).
    pub fn new(agreed: HeartBeat, grace: f64) -> Self {
        Self {
            send_ms: agreed.send_ms,
            dead_after_ms: stretched(agreed.want_ms, grace),
        }
    }

    /// When an LF is due if nothing was written since `last_write_ms`; `None`: never (CON-14).
    pub fn next_send_ms(&self, last_write_ms: u64) -> Option<u64> {
        (self.send_ms > 0).then(|| last_write_ms.saturating_add(self.send_ms))
    }

    /// When the peer counts as dead if no octet came since `last_read_ms`; `None`: never.
    pub fn dead_at_ms(&self, last_read_ms: u64) -> Option<u64> {
        (self.dead_after_ms > 0).then(|| last_read_ms.saturating_add(self.dead_after_ms))
    }

    /// Whether an LF must be written now.
    pub fn is_send_due(&self, now_ms: u64, last_write_ms: u64) -> bool {
        self.next_send_ms(last_write_ms)
            .is_some_and(|due_ms| now_ms >= due_ms)
    }

    /// Whether the peer has been silent for too long.
    pub fn is_dead(&self, now_ms: u64, last_read_ms: u64) -> bool {
        self.dead_at_ms(last_read_ms)
            .is_some_and(|dead_ms| now_ms >= dead_ms)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "milliseconds are exact in f64 for 285,000 years, and `as` saturates"
)]
fn stretched(interval_ms: u64, grace: f64) -> u64 {
    // `max` turns NaN into 1.0 as well.
    (interval_ms as f64 * grace.max(1.0)).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_two_non_negative_integers_are_read() {
        let check = |value: &str, expected: Option<(u64, u64)>| {
            let expected = expected
                .map(|(send_ms, want_ms)| HeartBeat { send_ms, want_ms })
                .ok_or(HeartBeatFault);
            assert_eq!(HeartBeat::parse(value), expected, "{value:?}");
        };
        check("0,0", Some((0, 0))); // C046
        check(" 1000 , 1000 ", Some((1000, 1000))); // C056
        for bad in [
            "0",
            "T,0",
            "100,10,50",
            "-1,0",
            "",
            ",",
            "1,",
            "+1,0",
            "1.5,0",
        ] {
            check(bad, None); // C052 … C055
        }
    }

    #[test]
    fn the_answer_mirrors_the_client_within_bounds() {
        let check = |client: (u64, u64), min_ms, max_ms, answer: (u64, u64)| {
            let client = HeartBeat {
                send_ms: client.0,
                want_ms: client.1,
            };
            let expected = HeartBeat {
                send_ms: answer.0,
                want_ms: answer.1,
            };
            assert_eq!(HeartBeat::negotiate(client, min_ms, max_ms), expected);
        };
        check((0, 0), 100, 0, (0, 0));
        check((0, 1000), 100, 0, (1000, 0)); // C047
        check((2000, 0), 100, 0, (0, 2000)); // C049
        check((5, 70), 100, 0, (100, 100));
        check((60_000, 90_000), 100, 30_000, (30_000, 30_000));
    }

    #[test]
    fn silence_is_measured_with_grace() {
        let agreed = HeartBeat {
            send_ms: 500,
            want_ms: 1000,
        };
        let timers = HeartBeatTimers::new(agreed, 2.0);
        assert_eq!(timers.next_send_ms(10), Some(510));
        assert!(!timers.is_send_due(509, 10) && timers.is_send_due(510, 10));
        assert!(!timers.is_dead(2009, 10) && timers.is_dead(2010, 10));
        assert_eq!(HeartBeatTimers::new(agreed, 0.0).dead_at_ms(0), Some(1000));
        assert_eq!(
            HeartBeatTimers::new(agreed, f64::NAN).dead_at_ms(0),
            Some(1000)
        );
        assert_eq!(
            HeartBeatTimers::new(agreed, f64::INFINITY).dead_at_ms(9),
            Some(u64::MAX)
        );
        let off = HeartBeatTimers::new(HeartBeat::default(), 2.0);
        assert_eq!((off.next_send_ms(0), off.dead_at_ms(0)), (None, None));
    }
}
