//! Options behind `?` in the destination of a SUBSCRIBE (DST-8): the same as headers, which win.

use std::borrow::Cow;

use ferrymq_protocols::stomp::{Known, Prefetch, Subscribe};

use super::reply::Refusal;

/// Takes options into what a SUBSCRIBE asks for.
pub(super) fn apply(wanted: &mut Subscribe<'_>, options: &str) -> Result<(), Refusal> {
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = decode(value);
        set(wanted, name, &value)?;
    }
    Ok(())
}

fn set(wanted: &mut Subscribe<'_>, name: &str, value: &str) -> Result<(), Refusal> {
    let has = |known: &[Known]| known.iter().any(|known| wanted.headers.has(*known));
    match name {
        "consumer.prefetchSize" => {
            let size = number(name, value)?.clamp(1, i64::from(u32::MAX));
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            wanted.prefetch.get_or_insert(Prefetch::Messages(size));
        }
        "consumer.priority" => {
            let priority = number(name, value)?.clamp(0, 127);
            if !has(&[Known::ActivemqPriority]) {
                wanted.priority = u8::try_from(priority).unwrap_or(0);
            }
        }
        "consumer.exclusive" => {
            let on = switch(name, value)?;
            if !has(&[Known::ActivemqExclusive, Known::Exclusive]) {
                wanted.exclusive = on;
            }
        }
        "consumer.retroactive" => {
            let on = switch(name, value)?;
            if !has(&[Known::ActivemqRetroactive]) {
                wanted.retroactive = on;
            }
        }
        "consumer.noLocal" => {
            let on = switch(name, value)?;
            if !has(&[Known::ActivemqNoLocal, Known::NoLocal]) {
                wanted.no_local = on;
            }
        }
        "consumer.selector" => {
            let own = || Cow::Owned(value.to_owned());
            wanted.selector.get_or_insert_with(own);
        }
        "consumer.maximumPendingMessageLimit" => {
            let limit = number(name, value)?;
            wanted.pending_max.get_or_insert(limit);
        }
        // There is one way of dispatching only.
        "consumer.dispatchAsync" => drop(switch(name, value)?),
        _ => {
            return Err(Refusal::frame(format!(
                "unknown option '{name}' in the destination"
            )));
        }
    }
    Ok(())
}

fn number(name: &str, value: &str) -> Result<i64, Refusal> {
    let number = value.trim().parse();
    number.map_err(|_| Refusal::frame(format!("option {name} is not a number: {value}")))
}

fn switch(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::frame(format!(
            "option {name} is neither true nor false: {value}"
        ))),
    }
}

/// Undoes `%20` and `+`. What is no such escape stays as it is.
fn decode(value: &str) -> String {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = tail
            .first_chunk::<2>()
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        octets.push(match (first, escaped) {
            (_, Some(octet)) => {
                rest = &tail[2..];
                octet
            }
            (b'+', None) => b' ',
            (octet, None) => *octet,
        });
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        for (written, meant) in [
            ("a%20%3D+1", "a = 1"),
            ("100%", "100%"),
            ("%zz", "%zz"),
            ("%C3%BC", "ü"),
        ] {
            assert_eq!(decode(written), meant);
        }
    }
}
