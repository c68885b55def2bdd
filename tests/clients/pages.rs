//! A small web server on loopback, for the pages that the browser trials open.
//!
//! It serves the scripts beside the fetched packages of Node, and below `/example/` the page of `examples/browser`.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;
use std::thread;

use crate::toolchain;

/// The port it listens on, from the first look on as long as this process runs.
pub(crate) static PORT: LazyLock<u16> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    port
});

/// The origin of its pages, as browsers send it.
pub(crate) fn origin() -> String {
    format!("http://127.0.0.1:{}", *PORT)
}

/// The same pages, which to a browser are of another origin.
pub(crate) fn foreign_origin() -> String {
    format!("http://localhost:{}", *PORT)
}

/// Answers one request; a browser that goes away meanwhile is no concern of ours.
fn serve(mut stream: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let request = lines.next()?.ok()?;
    while !lines.next()?.ok()?.is_empty() {}
    let target = request.split(' ').nth(1)?;
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let (status, kind, body) = match file(path).and_then(|file| {
        let kind = kind(&file)?;
        Some((kind, fs::read(file).ok()?))
    }) {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", "text/plain", path.as_bytes().to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&body).ok()
}

/// Where a path of ours leads.
fn file(path: &str) -> Option<PathBuf> {
    let path = Path::new(path.strip_prefix('/')?);
    if !path
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return None;
    }
    let packages = toolchain::home("node");
    // As the README of the example says to put it there.
    if path == Path::new("example/stomp.umd.min.js") {
        return Some(packages.join("node_modules/@stomp/stompjs/bundles/stomp.umd.min.js"));
    }
    Some(match path.strip_prefix("example") {
        Ok(rest) => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples/browser")
            .join(rest),
        Err(_) => packages.join(path),
    })
}

fn kind(file: &Path) -> Option<&'static str> {
    match file.extension().and_then(OsStr::to_str)? {
        "html" => Some("text/html; charset=utf-8"),
        "js" | "mjs" => Some("text/javascript; charset=utf-8"),
        _ => None,
    }
}
