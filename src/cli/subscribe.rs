//! `ferrymq sub`: prints messages from any STOMP broker.
//!
//! A message is acknowledged only after it was printed and the output flushed: what was not seen comes again. That is why the
//! default is client-individual; with `--ack auto` whatever is on its way when the command ends is lost.

use std::io::{BufWriter, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::client::{
    Client, Command, ConnectArgs, Identity, ServerFrame, Version, header_argument, refusal,
};

/// How long one read waits before looking for Ctrl-C or the time-out.
const READ_TIMEOUT: Duration = Duration::from_millis(100);
/// The id of the one subscription.
const SUBSCRIPTION: &str = "sub";

/// Shown at the end of the help.
pub(crate) const EXAMPLES: &str = "\
Exit codes: 0 ended by Ctrl-C, --count or --timeout, 1 failed or fewer than --count messages came, 2 wrong arguments

Examples:
  ferrymq sub /queue/orders
  ferrymq sub /topic/news --json | jq .headers
  ferrymq sub /queue/orders --count 1 --timeout 5
  ferrymq sub /queue/orders --selector \"colour = 'red' AND size > 3\"
  ferrymq sub /topic/news --durable archive --client-id archiver -a stomp://broker:61613";

/// How messages are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    /// The broker forgets a message when it has sent it
    Auto,
    /// Each acknowledgement covers all messages before it
    Client,
    /// Each message is acknowledged by itself
    ClientIndividual,
}

impl Ack {
    fn header(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::ClientIndividual => "client-individual",
        }
    }
}

/// Arguments of `ferrymq sub`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Where from, such as /queue/orders or /topic/news
    #[arg(value_name = "DEST")]
    destination: String,
    /// End after that many messages
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// End when no message came for that many seconds
    #[arg(long, short, value_name = "S")]
    timeout: Option<f64>,
    /// Print each message as a line of JSON: headers, and body (text) or body_base64 (anything else)
    #[arg(long, short)]
    json: bool,
    /// How to acknowledge; always after a message was printed
    #[arg(long, value_enum, default_value = "client-individual")]
    ack: Ack,
    /// Take only messages that match this SQL-92 expression over their headers
    #[arg(long, short, value_name = "SQL")]
    selector: Option<String>,
    /// Durable subscription of that name: a topic keeps messages for it while nobody listens
    #[arg(long, value_name = "NAME", requires = "client_id")]
    durable: Option<String>,
    /// Client id of the connection
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A further header of SUBSCRIBE, as NAME:VALUE; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header_argument)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Prints messages until the count, the time-out or Ctrl-C.
///
/// # Errors
/// If the broker cannot be reached, refuses, or closes, or if fewer than `--count` messages came.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let interrupted = watch_signals()?;
    let identity = Identity {
        client_id: args.client_id.clone(),
        ..Identity::default()
    };
    let mut client = Client::connect(&args.connect, &identity)?;
    client.set_read_timeout(READ_TIMEOUT)?;
    subscribe(args, &mut client)?;
    let mut subscriber = Subscriber {
        args,
        client,
        out: BufWriter::new(std::io::stdout().lock()),
        owed: Vec::new(),
        printed: 0,
    };
    let outcome = subscriber.print_all(&interrupted);
    if let Err(error) = &outcome
        && error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    {
        return subscriber.client.disconnect(); // whoever read the output has seen enough
    }
    outcome?;
    subscriber.client.disconnect()?;
    match args.count {
        Some(count) if subscriber.printed < count && !interrupted.load(Ordering::Relaxed) => {
            bail!("{} of {count} messages came in time", subscriber.printed)
        }
        _ => Ok(()),
    }
}

fn subscribe(args: &Args, client: &mut Client) -> anyhow::Result<()> {
    let mut headers = vec![
        ("id", SUBSCRIPTION),
        ("destination", args.destination.as_str()),
        ("ack", args.ack.header()),
    ];
    headers.extend(
        args.selector
            .as_deref()
            .map(|selector| ("selector", selector)),
    );
    if let Some(name) = args.durable.as_deref() {
        // What ActiveMQ and what Artemis call it; each ignores the other's.
        headers.extend([
            ("activemq.subscriptionName", name),
            ("durable-subscription-name", name),
        ]);
    }
    headers.extend(
        args.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    client.queue(Command::Subscribe, &headers, b"", false)?;
    client.flush()
}

/// Sets the flag at SIGINT or SIGTERM. A thread of its own, because the connection is read without a runtime.
fn watch_signals() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot listen for signals")?;
    let mut terminate = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .context("cannot listen for signals")?
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        });
        set.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}

/// Prints and acknowledges.
struct Subscriber<'a, W: Write> {
    args: &'a Args,
    client: Client,
    out: W,
    /// Messages printed but not yet acknowledged.
    owed: Vec<ServerFrame>,
    printed: u64,
}

impl<W: Write> Subscriber<'_, W> {
    fn print_all(&mut self, interrupted: &AtomicBool) -> anyhow::Result<()> {
        let patience = self.args.timeout.map(Duration::from_secs_f64);
        let mut waited = Duration::ZERO;
        while !interrupted.load(Ordering::Relaxed)
            && self.args.count.is_none_or(|count| self.printed < count)
        {
            // Flush and acknowledge before every wait, not after every message: a burst costs one write.
            let frame = match self.client.take_frame()? {
                Some(frame) => Some(frame),
                None => {
                    self.settle()?;
                    self.client.next_frame()?
                }
            };
            let Some(frame) = frame else {
                waited += READ_TIMEOUT;
                if patience.is_some_and(|patience| waited >= patience) {
                    break;
                }
                continue;
            };
            waited = Duration::ZERO;
            match frame.command {
                Command::Message => self.print(frame)?,
                Command::Error => return Err(refusal(&frame)),
                _ => {}
            }
        }
        self.settle()
    }

    fn print(&mut self, frame: ServerFrame) -> anyhow::Result<()> {
        if self.args.json {
            serde_json::to_writer(&mut self.out, &json(&frame)).map_err(std::io::Error::from)?;
        } else {
            self.out.write_all(&frame.body)?;
        }
        self.out.write_all(b"\n")?;
        self.printed += 1;
        if self.args.ack != Ack::Auto {
            self.owed.push(frame);
        }
        Ok(())
    }

    /// Flushes what was printed, then acknowledges it.
    fn settle(&mut self) -> anyhow::Result<()> {
        self.out.flush()?;
        let owed = std::mem::take(&mut self.owed);
        let covered = if self.args.ack == Ack::Client {
            owed.len().saturating_sub(1)
        } else {
            0
        };
        for frame in &owed[covered..] {
            let headers = acknowledgement(frame, self.client.version())?;
            self.client.queue(Command::Ack, &headers, b"", false)?;
        }
        self.client.flush()
    }
}

/// The headers of the ACK of a message. Spec: STOMP 1.2, 1.1 and 1.0, ACK.
fn acknowledgement(
    frame: &ServerFrame,
    version: Version,
) -> anyhow::Result<Vec<(&'static str, &str)>> {
    let needed = |name: &str| {
        frame
            .header(name)
            .with_context(|| format!("the broker sent a message without {name}"))
    };
    if version == Version::V12 {
        return Ok(vec![("id", needed("ack")?)]);
    }
    let mut headers = vec![("message-id", needed("message-id")?)];
    headers.extend(
        frame
            .header("subscription")
            .map(|subscription| ("subscription", subscription)),
    );
    Ok(headers)
}

/// A message as JSON. A repeated header shows its first value, which is the one that counts.
fn json(frame: &ServerFrame) -> serde_json::Value {
    let mut headers = serde_json::Map::new();
    for (name, value) in &frame.headers {
        headers.entry(name).or_insert_with(|| value.as_str().into());
    }
    match std::str::from_utf8(&frame.body) {
        Ok(text) => serde_json::json!({ "headers": headers, "body": text }),
        Err(_) => serde_json::json!({ "headers": headers, "body_base64": base64(&frame.body) }),
    }
}

/// Spec: RFC 4648, section 4. Twenty lines are less than a dependency.
fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(octets.len().div_ceil(3) * 4);
    for group in octets.chunks(3) {
        let mut word = [0; 4];
        word[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(word);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() {
                char::from(letter)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn message(headers: &[(&str, &str)], body: &[u8]) -> ServerFrame {
        let headers = headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        ServerFrame {
            command: Command::Message,
            headers,
            body: body.to_vec(),
        }
    }

    #[test]
    fn a_durable_subscription_needs_a_client_id() {
        let parse = |line: &str| {
            Line::try_parse_from(std::iter::once("sub").chain(line.split(' ')))
                .map(|line| line.args)
        };
        assert!(parse("/topic/a --durable d").is_err());
        let args = parse("/topic/a --durable d --client-id c -n 2 -t 1.5 --ack client").unwrap();
        assert_eq!(
            (args.count, args.timeout, args.ack),
            (Some(2), Some(1.5), Ack::Client)
        );
    }

    #[test]
    fn a_message_is_acknowledged_as_its_version_asks() {
        let frame = message(
            &[("message-id", "m"), ("subscription", "sub"), ("ack", "a")],
            b"",
        );
        assert_eq!(
            acknowledgement(&frame, Version::V12).unwrap(),
            [("id", "a")]
        );
        assert_eq!(
            acknowledgement(&frame, Version::V11).unwrap(),
            [("message-id", "m"), ("subscription", "sub")]
        );
        let frame = message(&[("message-id", "m")], b"");
        assert_eq!(
            acknowledgement(&frame, Version::V10).unwrap(),
            [("message-id", "m")]
        );
        assert!(acknowledgement(&frame, Version::V12).is_err());
    }

    #[test]
    fn json_marks_a_body_that_is_no_text() {
        let text = json(&message(&[("a", "1"), ("a", "2")], "é\n".as_bytes())).to_string();
        assert_eq!(text, r#"{"body":"é\n","headers":{"a":"1"}}"#);
        assert_eq!(
            json(&message(&[], &[0xff])).to_string(),
            r#"{"body_base64":"/w==","headers":{}}"#
        );
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
