//! What a SUBSCRIBE asks of a queue beyond messages in turn (section 5).

use ferrymq_protocols::stomp::{Known, Subscribe};

use super::reply::Refusal;
use crate::broker::{AckMode, RedeliveryOverride, Wishes};

/// The most a policy can count.
const REDELIVERIES_MAX: i64 = u16::MAX as i64;

/// Reads the headers; a number or a switch that is neither costs the frame.
pub(super) fn of(wanted: &Subscribe<'_>, mode: AckMode) -> Result<Wishes, Refusal> {
    Ok(Wishes {
        priority: priority(wanted)?,
        exclusive: wanted.exclusive,
        adaptive: mode == AckMode::Individual && wanted.prefetch.is_none() && !wanted.browser,
        redelivery: redelivery(wanted)?,
        filter: None,
        browser: wanted.browser,
    })
}

/// `activemq.priority`, or RabbitMQ's `x-priority`.
fn priority(wanted: &Subscribe<'_>) -> Result<u8, Refusal> {
    if wanted.headers.has(Known::ActivemqPriority) {
        return Ok(wanted.priority);
    }
    let number = number(wanted, "x-priority")?;
    Ok(number.map_or(wanted.priority, |number| {
        u8::try_from(number.clamp(0, 127)).unwrap_or(0)
    }))
}

/// The redelivery policy of the subscription, if it names any part of one.
fn redelivery(wanted: &Subscribe<'_>) -> Result<Option<RedeliveryOverride>, Refusal> {
    let delay = |name: &str| {
        let delay_ms = number(wanted, name)?;
        Ok::<_, Refusal>(delay_ms.map(|delay_ms| u64::try_from(delay_ms).unwrap_or(0)))
    };
    let own = RedeliveryOverride {
        maximum_redeliveries: number(wanted, "activemq.maximumRedeliveries")?
            .map(|count| u16::try_from(count.min(REDELIVERIES_MAX)).ok()),
        initial_redelivery_delay_ms: delay("activemq.initialRedeliveryDelay")?,
        redelivery_delay_ms: delay("activemq.redeliveryDelay")?,
        use_exponential_back_off: switch(wanted, "activemq.useExponentialBackOff")?,
        back_off_multiplier: multiplier(wanted)?,
        maximum_redelivery_delay_ms: number(wanted, "activemq.maximumRedeliveryDelay")?
            .map(|delay_ms| u64::try_from(delay_ms).ok()),
        use_collision_avoidance: switch(wanted, "activemq.useCollisionAvoidance")?,
    };
    Ok((own != RedeliveryOverride::default()).then_some(own))
}

fn number(wanted: &Subscribe<'_>, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(value) = wanted.headers.get_name(name) else {
        return Ok(None);
    };
    let number = value.trim().parse();
    number
        .map(Some)
        .map_err(|_| Refusal::frame(format!("{name} is not a number: {value}")))
}

fn multiplier(wanted: &Subscribe<'_>) -> Result<Option<f64>, Refusal> {
    let name = "activemq.backOffMultiplier";
    let Some(value) = wanted.headers.get_name(name) else {
        return Ok(None);
    };
    let number = value.trim().parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number
        .map(Some)
        .ok_or_else(|| Refusal::frame(format!("{name} is not a number: {value}")))
}

fn switch(wanted: &Subscribe<'_>, name: &str) -> Result<Option<bool>, Refusal> {
    match wanted.headers.get_name(name).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(value) => Err(Refusal::frame(format!(
            "{name} is neither true nor false: {value}"
        ))),
    }
}
