//! The fuzz targets over their seed corpora.

use std::fs;
use std::path::Path;

fn run(target: &str, body: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&directory).expect("the corpus is in the tree") {
        let path = entry.expect("the directory is readable").path();
        let data = fs::read(&path).expect("the seed is readable");
        eprintln!("{}", path.display());
        body(&data);
        // Every way of splitting and every switch, whatever the seed's first octet says.
        for choice in 0..=u8::MAX {
            body(&[&[choice], &data[data.len().min(1)..]].concat());
        }
        files += 1;
    }
    assert!(files > 5, "{files} seeds in {}", directory.display());
}

#[test]
fn stomp_decode_holds_over_its_corpus() {
    run("stomp_decode", ferrymq_protocols::fuzz::stomp_decode);
}

#[test]
fn stomp_text_holds_over_its_corpus() {
    run("stomp_text", ferrymq_protocols::fuzz::stomp_text);
}

#[test]
fn websocket_decode_holds_over_its_corpus() {
    run(
        "websocket_decode",
        ferrymq_protocols::fuzz::websocket_decode,
    );
}

#[test]
fn map_text_holds_over_its_corpus() {
    run("map_text", ferrymq_protocols::fuzz::map_text);
}

#[test]
fn openwire_decode_holds_over_its_corpus() {
    run("openwire_decode", ferrymq_protocols::fuzz::openwire_decode);
}

#[test]
fn openwire_values_holds_over_its_corpus() {
    run("openwire_values", ferrymq_protocols::fuzz::openwire_values);
}
