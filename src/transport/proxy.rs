//! The PROXY protocol, versions 1 and 2: the client's address, told by a proxy in front of the first octets.
//!
//! What follows the addresses in version 2 is skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

/// The longest line of version 1.
const LINE_BYTES_MAX: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version, family, length.
const HEAD_BYTES: usize = 16;
/// The longest addresses and further fields of version 2. Proxies send some hundred octets.
const FIELDS_BYTES_MAX: usize = 4096;

/// What a proxy has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The client's address; `None` if the proxy speaks for itself, as in a health check, or does not know it.
    pub(super) client: Option<SocketAddr>,
    /// Octets of the header.
    pub(super) len: usize,
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ProxyError {
    #[error("no PROXY header")]
    Missing,
    #[error("a malformed PROXY header")]
    Malformed,
    #[error("a PROXY header of version 2 with {0} bytes, over the limit of {FIELDS_BYTES_MAX}")]
    TooLong(usize),
}

/// Reads a header; `None` if it is incomplete.
pub(super) fn read(input: &[u8]) -> Result<Option<Told>, ProxyError> {
    let begins = |whole: &[u8]| {
        let compared = whole.len().min(input.len());
        input[..compared] == whole[..compared]
    };
    if begins(SIGNATURE) {
        version_2(input)
    } else if begins(b"PROXY ") {
        version_1(input)
    } else {
        Err(ProxyError::Missing)
    }
}

fn version_1(input: &[u8]) -> Result<Option<Told>, ProxyError> {
    let searched = &input[..input.len().min(LINE_BYTES_MAX)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        let is_full = searched.len() == LINE_BYTES_MAX;
        return if is_full {
            Err(ProxyError::Malformed)
        } else {
            Ok(None)
        };
    };
    let line = std::str::from_utf8(&input[..end]).map_err(|_| ProxyError::Malformed)?;
    let words: Vec<&str> = line.split(' ').collect();
    let client = match words[..] {
        ["PROXY", "UNKNOWN", ..] => None,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let address: IpAddr = source.parse().map_err(|_| ProxyError::Malformed)?;
            if address.is_ipv4() != (family == "TCP4") {
                return Err(ProxyError::Malformed);
            }
            let port = port.parse().map_err(|_| ProxyError::Malformed)?;
            Some(SocketAddr::new(address, port))
        }
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Told {
        client,
        len: end + 2,
    }))
}

fn version_2(input: &[u8]) -> Result<Option<Told>, ProxyError> {
    let Some((head, rest)) = input.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let (command, family) = (head[12], head[13]);
    let fields = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if fields > FIELDS_BYTES_MAX {
        return Err(ProxyError::TooLong(fields));
    }
    let Some(fields) = rest.get(..fields) else {
        return Ok(None);
    };
    let client = match (command, family) {
        // LOCAL: whatever follows is to be passed over.
        (0x20, _) => None,
        (0x21, 0x11) => Some(client::<4>(fields)?),
        (0x21, 0x21) => Some(client::<16>(fields)?),
        // Not TCP, or a socket of the proxy's machine: no address to show.
        (0x21, _) => None,
        _ => return Err(ProxyError::Malformed),
    };
    let len = HEAD_BYTES + fields.len();
    Ok(Some(Told { client, len }))
}

/// Source address, destination address, source port, destination port.
fn client<const WIDTH: usize>(fields: &[u8]) -> Result<SocketAddr, ProxyError> {
    let source = fields.first_chunk::<WIDTH>();
    let port = fields
        .get(2 * WIDTH..2 * WIDTH + 4)
        .and_then(|ports| ports.first_chunk::<2>());
    let (Some(source), Some(port)) = (source, port) else {
        return Err(ProxyError::Malformed);
    };
    let address = match (
        <[u8; 4]>::try_from(&source[..]),
        <[u8; 16]>::try_from(&source[..]),
    ) {
        (Ok(octets), _) => IpAddr::V4(Ipv4Addr::from(octets)),
        (_, Ok(octets)) => IpAddr::V6(Ipv6Addr::from(octets)),
        _ => return Err(ProxyError::Malformed),
    };
    Ok(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let len = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, fields].concat()
    }

    fn told(input: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
        // Whatever is cut off is either asked for or refused already.
        for end in 0..input.len() {
            let early = read(&input[..end]);
            assert!(matches!(early, Ok(None) | Err(_)), "{end}: {early:?}");
        }
        let told = read(input)?.expect("it is complete");
        assert_eq!(told.len, input.len());
        Ok(told.client)
    }

    #[test]
    fn both_versions_tell_the_client() {
        let address = |text: &str| Ok(Some(text.parse().unwrap()));
        assert_eq!(
            told(b"PROXY TCP4 203.0.113.9 10.0.0.1 5000 61613\r\n"),
            address("203.0.113.9:5000")
        );
        assert_eq!(
            told(b"PROXY TCP6 2001:db8::9 ::1 5000 61613\r\n"),
            address("[2001:db8::9]:5000")
        );
        assert_eq!(told(b"PROXY UNKNOWN what ever\r\n"), Ok(None));
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0x13, 0x88, 0xf0, 0xad];
        assert_eq!(told(&v2(0x21, 0x11, &v4)), address("203.0.113.9:5000"));
        let more = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        assert_eq!(told(&v2(0x21, 0x11, &more)), address("203.0.113.9:5000"));
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 7, 0, 8]].concat();
        assert_eq!(told(&v2(0x21, 0x21, &v6)), address("[::1]:7"));
        assert_eq!(told(&v2(0x20, 0, &[])), Ok(None));
        assert_eq!(told(&v2(0x21, 0x31, &[0; 216])), Ok(None));
    }

    #[test]
    fn anything_else_is_refused() {
        let refused = |input: &[u8], error| assert_eq!(read(input), Err(error), "{input:?}");
        refused(b"CONNECT\n", ProxyError::Missing);
        refused(b"PROXY TCP4 ::1 ::1 1 2\r\n", ProxyError::Malformed);
        refused(
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n",
            ProxyError::Malformed,
        );
        refused(
            &[b"PROXY ".to_vec(), vec![b'x'; 200]].concat(),
            ProxyError::Malformed,
        );
        refused(&v2(0x21, 0x11, &[0; 11]), ProxyError::Malformed);
        refused(&v2(0x31, 0x11, &[0; 12]), ProxyError::Malformed);
        let head = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        refused(&head, ProxyError::TooLong(65535));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            octets in prop::collection::vec(any::<u8>(), 0..60),
            front in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", SIGNATURE]),
        ) {
            let _ = read(&[front, &octets].concat());
        }
    }
}
