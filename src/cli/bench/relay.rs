//! The bare relay: what moving the octets costs when nothing is done with them.
//!
//! One thread reads up to 64 KiB from the producer and writes them to the consumer. It answers CONNECT and SUBSCRIBE just so that
//! the generator can use it like a broker, and knows nothing of messages. A broker cannot cost less than this on the same machine;
//! how much more it costs is the figure of interest. The two connections are told apart by the first octets: the generator's
//! producer says `STOMP` where its consumer says `CONNECT`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use anyhow::{Context, bail};

const PIECE: usize = 64 * 1024;

/// Arguments of `ferrymq bench relay`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// End when standard input does: a relay does not outlive who started it
    #[arg(long, hide = true)]
    end_with_stdin: bool,
}

/// Listens, prints `{"stomp":ADDRESS,"pid":PID}` on standard output, then relays one pair of connections after the other.
///
/// # Errors
/// If the address cannot be listened on.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind(&args.listen)
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    let address = listener.local_addr()?.to_string();
    let line = serde_json::json!({ "stomp": address, "pid": std::process::id() });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    drop(out);
    if !args.end_with_stdin {
        serve(&listener);
        return Ok(());
    }
    std::thread::spawn(move || serve(&listener));
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

/// Relays one pair of connections after the other, for ever. A pair that breaks costs only itself.
pub(crate) fn serve(listener: &TcpListener) {
    loop {
        if let Err(error) = relay_pair(listener) {
            let _ = writeln!(std::io::stderr(), "relay: {error:#}");
        }
    }
}

/// Accepts until there is one consumer and one producer, then copies until the producer ends.
fn relay_pair(listener: &TcpListener) -> anyhow::Result<()> {
    let (mut consumer, mut producer) = (None, None);
    while consumer.is_none() || producer.is_none() {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut end = End {
            stream,
            input: Vec::new(),
        };
        let Ok(first) = end.frame() else { continue }; // somebody looked whether anyone listens
        end.stream
            .write_all(b"CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0\n")?;
        if first.starts_with(b"STOMP") {
            producer = Some(end);
        } else {
            end.answer("SUBSCRIBE")?;
            consumer = Some(end);
        }
    }
    let (Some(mut consumer), Some(mut producer)) = (consumer, producer) else {
        bail!("a connection is missing")
    };
    consumer.stream.write_all(&producer.input)?;
    let mut piece = vec![0; PIECE];
    loop {
        let count = producer.stream.read(&mut piece)?;
        if count == 0 {
            break;
        }
        consumer.stream.write_all(&piece[..count])?;
    }
    consumer.answer("DISCONNECT")
}

/// One side of the relay.
struct End {
    stream: TcpStream,
    input: Vec<u8>,
}

impl End {
    /// Reads one frame without a body.
    fn frame(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(end) = memchr::memchr(0, &self.input) {
                let frame = self.input.drain(..=end).collect::<Vec<u8>>();
                return Ok(frame.trim_ascii_start().to_vec());
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece)?;
            if count == 0 {
                bail!("closed");
            }
            self.input.extend_from_slice(&piece[..count]);
        }
    }

    /// Reads until a frame of that command and answers its receipt.
    fn answer(&mut self, command: &str) -> anyhow::Result<()> {
        loop {
            let frame = String::from_utf8_lossy(&self.frame()?).into_owned();
            if !frame.starts_with(command) {
                continue;
            }
            let id = frame.lines().find_map(|line| line.strip_prefix("receipt:"));
            if let Some(id) = id {
                self.stream
                    .write_all(format!("RECEIPT\nreceipt-id:{id}\n\n\0\n").as_bytes())?;
            }
            return Ok(());
        }
    }
}
