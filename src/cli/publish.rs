//! `ferrymq pub`: sends messages to any STOMP broker.
//!
//! The command ends well only when the broker has confirmed that it processed everything: DISCONNECT carries a receipt, and an
//! ERROR that comes instead is shown. With `--receipt` each message is confirmed by itself, persistent ones after they are on disk.

use std::fs;
use std::io::{BufRead, Read};
use std::path::PathBuf;

use anyhow::{Context, bail};

use super::client::{Client, Command, ConnectArgs, Identity, header_argument};

/// Receipts that may be outstanding; enough for the broker to sync many messages together.
const RECEIPTS_MAX: u64 = 1000;
/// The one transaction of `--tx`.
const TRANSACTION: &str = "pub";

/// Shown at the end of the help.
pub(crate) const EXAMPLES: &str = "\
Exit codes: 0 the broker has processed everything, 1 it has not, 2 wrong arguments

Examples:
  ferrymq pub /queue/orders 'one message'
  echo '{\"id\":1}' | ferrymq pub /topic/news -H content-type:application/json
  ferrymq pub /queue/orders --lines --persistent --receipt < orders.txt
  ferrymq pub /queue/images --file photo.jpg -a stomp://broker:61613 --login app --passcode secret
  ferrymq pub /queue/load 'x' --count 1000 --tx";

/// Arguments of `ferrymq pub`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Where to, such as /queue/orders or /topic/news
    #[arg(value_name = "DEST")]
    destination: String,
    /// The message; without it, --file and --lines: all of standard input as one message
    #[arg(value_name = "MESSAGE", conflicts_with_all = ["file", "lines"])]
    message: Option<String>,
    /// Send the contents of a file
    #[arg(long, short, value_name = "FILE", conflicts_with = "lines")]
    file: Option<PathBuf>,
    /// Send each line of standard input as a message
    #[arg(long, short)]
    lines: bool,
    /// A further header, as NAME:VALUE; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header_argument)]
    headers: Vec<(String, String)>,
    /// Keep the message through a restart of the broker
    #[arg(long, short)]
    persistent: bool,
    /// Have every message confirmed by the broker
    #[arg(long, short)]
    receipt: bool,
    /// Send the message that many times
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "lines"
    )]
    count: u64,
    /// Send everything in one transaction: all of it or nothing
    #[arg(long)]
    tx: bool,
    /// Mark text as bytes too (a content-length is what makes a JMS BytesMessage)
    #[arg(long)]
    bytes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Sends what the arguments say.
///
/// # Errors
/// If the broker cannot be reached or refuses something, or the input cannot be read.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let whole = if args.lines { None } else { Some(body(args)?) };
    let mut publisher = Publisher::connect(args)?;
    match whole {
        Some(body) => (0..args.count).try_for_each(|_| publisher.send(&body))?,
        None => {
            let mut input = std::io::stdin().lock();
            let mut line = Vec::new();
            while input
                .read_until(b'\n', &mut line)
                .context("standard input cannot be read")?
                > 0
            {
                publisher.send(without_line_end(&line))?;
                line.clear();
            }
        }
    }
    publisher.finish()
}

fn body(args: &Args) -> anyhow::Result<Vec<u8>> {
    if let Some(message) = &args.message {
        return Ok(message.clone().into_bytes());
    }
    if let Some(file) = &args.file {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let mut body = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut body)
        .context("standard input cannot be read")?;
    Ok(body)
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A connection that sends to one destination.
struct Publisher<'a> {
    args: &'a Args,
    client: Client,
    sent: u64,
    confirmed: u64,
}

impl<'a> Publisher<'a> {
    fn connect(args: &'a Args) -> anyhow::Result<Self> {
        let mut client = Client::connect(&args.connect, &Identity::default())?;
        if args.tx {
            client.queue(Command::Begin, &[("transaction", TRANSACTION)], b"", false)?;
        }
        Ok(Self {
            args,
            client,
            sent: 0,
            confirmed: 0,
        })
    }

    fn send(&mut self, body: &[u8]) -> anyhow::Result<()> {
        let receipt = self.sent.to_string();
        let mut headers = vec![("destination", self.args.destination.as_str())];
        if self.args.persistent {
            headers.push(("persistent", "true"));
        }
        if self.args.tx {
            headers.push(("transaction", TRANSACTION));
        }
        if self.args.receipt {
            headers.push(("receipt", &receipt));
        }
        headers.extend(
            self.args
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let text = !self.args.bytes && !body.contains(&0) && std::str::from_utf8(body).is_ok();
        self.client.queue(Command::Send, &headers, body, !text)?;
        self.sent += 1;
        if self.args.lines && !self.args.receipt {
            // A line is sent when it comes: whoever types it does not wait for a buffer to fill.
            self.client.flush()?;
        }
        while self.args.receipt && self.sent - self.confirmed >= RECEIPTS_MAX {
            self.confirm_one()?;
        }
        Ok(())
    }

    fn confirm_one(&mut self) -> anyhow::Result<()> {
        self.client.flush()?;
        let frame = self.client.answer()?;
        match frame.header("receipt-id") {
            Some(_) if frame.command == Command::Receipt => self.confirmed += 1,
            _ => bail!("the broker sent {} to a producer", frame.command.name()),
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        while self.args.receipt && self.confirmed < self.sent {
            self.confirm_one()?;
        }
        if self.args.tx {
            self.client
                .request(Command::Commit, &[("transaction", TRANSACTION)])
                .context("the transaction was not committed")?;
        }
        self.client.disconnect()
    }
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

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once("pub").chain(line.split(' '))).map(|line| line.args)
    }

    #[test]
    fn arguments_say_what_is_sent() {
        let args = parse("/queue/a hello -H a:b:c -H x: --persistent -n 3 -a stomp://h:1").unwrap();
        assert_eq!(
            (args.message.as_deref(), args.count, args.persistent),
            (Some("hello"), 3, true)
        );
        assert_eq!(
            args.headers,
            [
                ("a".to_owned(), "b:c".to_owned()),
                ("x".to_owned(), String::new())
            ]
        );
        assert_eq!(args.connect.addr, "stomp://h:1");
    }

    #[test]
    fn arguments_that_contradict_each_other_are_refused() {
        for line in [
            "/queue/a m --lines",
            "/queue/a m --file f",
            "/queue/a --lines -n 2",
            "/queue/a m -H nocolon",
            "/queue/a m -H :v",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_line_loses_its_end_only() {
        for (line, expected) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a", "a"),
            ("\n", ""),
            ("a\r\r\n", "a\r"),
        ] {
            assert_eq!(without_line_end(line.as_bytes()), expected.as_bytes());
        }
    }
}
