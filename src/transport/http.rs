//! The HTTP request that opens a WebSocket, and our answer to it or to any other.
//!
//! Spec: RFC 6455, section 4.2; behaviour section 9.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// Headers of a request at most.
const HEADERS_MAX: usize = 64;
/// What the key of a handshake is hashed with (RFC 6455, 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Sub-protocols, best first.
const SUB_PROTOCOLS: [&str; 4] = ["v12.stomp", "v11.stomp", "v10.stomp", "stomp"];

const WELCOME: &str = "\
This port speaks STOMP over WebSocket and nothing else.
Connect to it with a STOMP client, such as @stomp/stompjs with a brokerURL of ws://host:port.
";

/// What a request is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// WebSocket begins behind this answer.
    Upgrade(String),
    /// The connection ends behind this answer.
    Refuse {
        /// The whole answer.
        response: String,
        /// Why, for the log.
        reason: String,
    },
}

/// Reads a request; gives its length and the answer, or `None` if it is incomplete.
pub(super) fn answer(input: &[u8], origins: &[String]) -> Option<(usize, Answer)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(input) {
        Ok(httparse::Status::Complete(len)) => Some((len, judge(&request, origins))),
        Ok(httparse::Status::Partial) => None,
        Err(error) => {
            let text = format!("not a request of HTTP/1.1: {error}");
            Some((input.len(), refuse("400 Bad Request", "", &text)))
        }
    }
}

fn judge(request: &httparse::Request<'_, '_>, origins: &[String]) -> Answer {
    let bad = |text: &str| refuse("400 Bad Request", "", text);
    if request.method != Some("GET") {
        let allow = "Allow: GET\r\n";
        return refuse(
            "405 Method Not Allowed",
            allow,
            "only GET, to open a WebSocket",
        );
    }
    if !has_token(request, "upgrade", "websocket") || !has_token(request, "connection", "upgrade") {
        let upgrade = "Upgrade: websocket\r\n";
        return refuse("426 Upgrade Required", upgrade, WELCOME.trim_end());
    }
    if request.version != Some(1) {
        return bad("WebSocket needs HTTP/1.1");
    }
    if header(request, "sec-websocket-version") != Some("13") {
        let version = "Sec-WebSocket-Version: 13\r\n";
        return refuse(
            "426 Upgrade Required",
            version,
            "only version 13 of WebSocket",
        );
    }
    let Some(key) = header(request, "sec-websocket-key").filter(|key| is_key(key)) else {
        return bad("Sec-WebSocket-Key is missing or malformed");
    };
    let origin = header(request, "origin");
    if let Some(origin) = origin
        && !is_allowed(origin, header(request, "host"), origins)
    {
        let text = format!("origin {} is not in websocket.origins", shown(origin));
        return refuse("403 Forbidden", "", &text);
    }
    let offered: Vec<&str> = tokens(request, "sec-websocket-protocol").collect();
    let chosen = SUB_PROTOCOLS
        .into_iter()
        .find(|known| offered.contains(known));
    let chosen = match chosen {
        Some(chosen) => format!("Sec-WebSocket-Protocol: {chosen}\r\n"),
        None if offered.is_empty() => String::new(),
        None => return bad("none of the sub-protocols v12.stomp, v11.stomp, v10.stomp, stomp"),
    };
    let accept = accept_of(key);
    Answer::Upgrade(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
    ))
}

fn refuse(status: &str, headers: &str, text: &str) -> Answer {
    let len = text.len() + 1;
    Answer::Refuse {
        response: format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\
             Connection: close\r\n\r\n{text}\n"
        ),
        reason: text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// The first header of that name, if it is text.
fn header<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> Option<&'a str> {
    let mut headers = request.headers.iter();
    let found = headers.find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok().map(str::trim)
}

/// The items of all headers of that name.
fn tokens<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> impl Iterator<Item = &'a str> {
    let headers = request.headers.iter();
    headers
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .filter_map(|header| std::str::from_utf8(header.value).ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn has_token(request: &httparse::Request<'_, '_>, name: &str, token: &str) -> bool {
    tokens(request, name).any(|item| item.eq_ignore_ascii_case(token))
}

/// A key is 16 octets in base64.
fn is_key(key: &str) -> bool {
    STANDARD.decode(key).is_ok_and(|octets| octets.len() == 16)
}

fn accept_of(key: &str) -> String {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    STANDARD.encode(hash)
}

/// Whether a page of this origin may connect.
fn is_allowed(origin: &str, host: Option<&str>, origins: &[String]) -> bool {
    origins.iter().any(|allowed| match allowed.as_str() {
        "*" => true,
        "same-host" => {
            let page = origin
                .split_once("://")
                .map(|(_, authority)| host_of(authority));
            page.is_some_and(|page| {
                host.is_some_and(|host| host_of(host).eq_ignore_ascii_case(page))
            })
        }
        allowed => allowed.eq_ignore_ascii_case(origin),
    })
}

/// An authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// What a client sent, fit for a log and an answer.
fn shown(text: &str) -> String {
    text.chars()
        .take(100)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same_host() -> Vec<String> {
        vec!["same-host".to_owned()]
    }

    fn ask(lines: &str, origins: &[String]) -> String {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: mq.example:61614\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        let (len, answer) = answer(request.as_bytes(), origins).expect("it is complete");
        assert_eq!(len, request.len());
        match answer {
            Answer::Upgrade(response) | Answer::Refuse { response, .. } => response,
        }
    }

    #[test]
    fn an_upgrade_is_answered_with_the_best_sub_protocol() {
        let response = ask(
            "Sec-WebSocket-Protocol: v10.stomp, v11.stomp\r\nSec-WebSocket-Protocol: v12.stomp\r\n",
            &[],
        );
        assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
        // The example of RFC 6455, 1.3.
        assert!(
            response.contains("Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "{response}"
        );
        assert!(response.contains("Protocol: v12.stomp\r\n"), "{response}");
        assert!(!ask("", &[]).contains("Sec-WebSocket-Protocol"));
        assert!(ask("Sec-WebSocket-Protocol: mqtt\r\n", &[]).starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn an_origin_has_to_be_allowed_if_there_is_one() {
        let check = |origin: &str, origins: &[String], allowed| {
            let response = ask(&format!("Origin: {origin}\r\n"), origins);
            let status = if allowed {
                "HTTP/1.1 101 "
            } else {
                "HTTP/1.1 403 "
            };
            assert!(
                response.starts_with(status),
                "{origin} {origins:?}: {response}"
            );
        };
        assert!(ask("", &[]).starts_with("HTTP/1.1 101 "));
        check("http://mq.example", &same_host(), true);
        check("https://MQ.example:8443", &same_host(), true);
        check("http://mq.example.evil", &same_host(), false);
        check("null", &same_host(), false);
        check("http://mq.example", &[], false);
        let listed = vec!["https://app.example".to_owned(), "null".to_owned()];
        check("https://app.example", &listed, true);
        check("null", &listed, true);
        check("http://app.example", &listed, false);
        check("https://app.example:444", &listed, false);
        check("http://anything", &["*".to_owned()], true);
    }

    #[test]
    fn what_is_no_upgrade_is_told_what_this_port_is() {
        let respond = |request: &str| match answer(request.as_bytes(), &[]) {
            Some((_, Answer::Refuse { response, .. })) => response,
            other => panic!("{other:?}"),
        };
        let plain = respond("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            plain.starts_with("HTTP/1.1 426 ") && plain.contains("STOMP over WebSocket"),
            "{plain}"
        );
        assert!(respond("POST / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        assert!(respond("GET / HTTP/1.1\r\n: x\r\n\r\n").starts_with("HTTP/1.1 400 "));
        assert_eq!(answer(b"GET / HTTP/1.1\r\nHost:", &[]), None);
    }
}
