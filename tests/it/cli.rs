//! The command line as a user meets it: exit codes, what is printed where, signals.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use tempfile::TempDir;

use crate::transport::certificates::Authority;
use crate::wait::until;

/// A command in an empty directory and without variables of ours, whatever the environment of the tests is.
pub(crate) fn ferrymq(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FERRYMQ__") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(directory)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub(crate) fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("ferrymq runs");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn check_config_prints_all_problems_at_once_and_exits_with_2() {
    let directory = directory();
    let file = "[stomp]\nlisten = 61613\nconect_timeout = \"30s\"\n[memory]\nlimit = \"150 %\"\n";
    fs::write(directory.path().join("wrong.toml"), file).expect("a file");
    let (code, stdout, stderr) = output(&mut ferrymq(
        directory.path(),
        &["check-config", "wrong.toml"],
    ));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    for part in [
        "3 problems in the configuration",
        "wrong.toml:2:10: stomp.listen: expected a numeric address",
        "wrong.toml:3:1: stomp.conect_timeout: unknown key; did you mean `stomp.connect_timeout`?",
        "wrong.toml:5:9: memory.limit: expected a size",
    ] {
        assert!(stderr.contains(part), "no {part:?} in\n{stderr}");
    }
}

#[test]
fn check_config_likes_the_file_in_the_repository() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/activemq.toml");
    let (code, stdout, stderr) = output(&mut ferrymq(directory().path(), &["check-config", file]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.ends_with("activemq.toml: ok\n"), "{stdout}");
}

#[test]
fn the_environment_wins_over_the_file_and_unknown_variables_are_reported() {
    let directory = directory();
    fs::write(
        directory.path().join("a.toml"),
        "[stomp]\nlisten = \"127.0.0.1:0\"\n",
    )
    .expect("a file");
    let mut command = ferrymq(directory.path(), &["check-config", "a.toml"]);
    let (code, _, stderr) = output(&mut command);
    assert_eq!(code, Some(0), "{stderr}");

    // Only the variable's address is public, so the refusal proves that it won.
    command
        .env("FERRYMQ__STOMP__LISTEN", "0.0.0.0:0")
        .env("FERRYMQ__X__Y", "1");
    let (code, _, stderr) = output(&mut command);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("environment FERRYMQ__STOMP__LISTEN: stomp.listen: 0.0.0.0:0 can be"),
        "{stderr}"
    );
    assert!(
        stderr.contains("environment FERRYMQ__X__Y: x: unknown section"),
        "{stderr}"
    );
}

#[test]
fn every_help_has_examples_and_the_first_has_the_exit_codes() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["check-config", "--help"],
    ] {
        let (code, stdout, _) = output(&mut ferrymq(directory().path(), arguments));
        assert_eq!(code, Some(0));
        assert!(stdout.contains("\nExamples:\n  "), "{stdout}");
        assert_eq!(
            stdout.contains("Exit codes:"),
            arguments.len() == 1,
            "{stdout}"
        );
    }
}

#[test]
fn an_unknown_flag_exits_with_2() {
    let (code, _, stderr) = output(&mut ferrymq(
        directory().path(),
        &["serve", "--stompp", "127.0.0.1:0"],
    ));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--stomp"), "{stderr}");
}

/// Spec: behaviour SEC-1.
#[test]
fn a_public_address_is_refused_at_the_start() {
    let (code, _, stderr) = output(&mut ferrymq(
        directory().path(),
        &["--stomp", "0.0.0.0:0", "--ephemeral"],
    ));
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("flag --stomp: stomp.listen") && stderr.contains("broker.allow_insecure"),
        "{stderr}"
    );
}

#[test]
fn an_address_in_use_is_named_and_exits_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, _, stderr) = output(&mut ferrymq(
        directory().path(),
        &["--stomp", &address, "--ephemeral"],
    ));
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("stomp.listen") && stderr.contains(&address),
        "{stderr}"
    );
}

/// A broker in a directory of its own, killed at the end of the test at the latest.
pub(crate) struct Serving {
    child: Child,
    directory: TempDir,
}

impl Serving {
    /// Starts one in this directory with these arguments and a ready file.
    pub(crate) fn start(directory: TempDir, arguments: &[&str]) -> Self {
        let log = fs::File::create(directory.path().join("log")).expect("a file for the log");
        let mut command = ferrymq(directory.path(), arguments);
        let child = command
            .args(["--ready-file", "ready.json"])
            .stderr(log)
            .spawn()
            .expect("ferrymq runs");
        Self { child, directory }
    }

    fn ready_file(&self) -> PathBuf {
        self.directory.path().join("ready.json")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("the log is UTF-8")
    }

    pub(crate) fn stomp_addr(&mut self) -> SocketAddr {
        let text = until("the ready file", || {
            let ended = self.child.try_wait().expect("the process can be asked");
            assert!(ended.is_none(), "ended with {ended:?}:\n{}", self.log());
            fs::read_to_string(self.ready_file()).ok()
        });
        let ready: serde_json::Value =
            serde_json::from_str(&text).expect("the ready file is JSON and whole");
        ready["stomp"]
            .as_str()
            .expect("it names stomp")
            .parse()
            .expect("an address")
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .expect("a shell runs")
                .success()
        );
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the end of the broker", || {
            self.child.try_wait().expect("the process can be asked")
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is the usual case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn serving_it_tells_its_address_and_stops_in_good_order() {
    for signal in ["TERM", "INT"] {
        let mut broker = Serving::start(directory(), &["--stomp", "127.0.0.1:0", "--ephemeral"]);
        let address = broker.stomp_addr();
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).expect("it accepts connections once the ready file is there");
        broker.signal(signal);
        assert_eq!(broker.ended().code(), Some(0), "{}", broker.log());
        let log = broker.log();
        let listening: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("listening"))
            .collect();
        assert_eq!(listening.len(), 1, "{log}");
        assert!(listening[0].contains(&format!("stomp={address}")), "{log}");
        assert!(listening[0].contains("elapsed_ms="), "{log}");
    }
}

#[test]
fn the_usual_file_is_read_and_a_stale_ready_file_deceives_nobody() {
    let directory = directory();
    let file =
        "[stomp]\nlisten = \"127.0.0.1:0\"\n[broker]\nephemeral = true\n[log]\nformat = \"json\"\n";
    fs::write(directory.path().join("activemq.toml"), file).expect("a file");
    // Not JSON: the test would stop here if it were taken for the new one. The start removes it before it listens,
    // so wait for that first.
    fs::write(directory.path().join("ready.json"), "stale").expect("a file");
    let mut broker = Serving::start(directory, &[]);
    until("the stale ready file to go", || {
        (fs::read_to_string(broker.ready_file()).ok().as_deref() != Some("stale")).then_some(())
    });
    let address = broker.stomp_addr();
    broker.signal("TERM");
    assert_eq!(broker.ended().code(), Some(0));
    let log = broker.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON"));
    let listening: Vec<_> = lines
        .filter(|line| line["message"] == "listening")
        .collect();
    assert_eq!(listening.len(), 1, "{log}");
    assert_eq!(listening[0]["stomp"], address.to_string());
}

const POLICIES: &str = "\
[stomp]
listen = \"127.0.0.1:0\"
[broker]
ephemeral = true
[destinations]
topic_prefetch = 9
[[policy]]
queue = \">\"
queuePrefetch = 1
useCache = false
[[policy]]
queue = \"a\"
inherit = true
onNack = \"dlq\"
";

#[test]
fn config_show_tells_where_each_value_comes_from() {
    let directory = directory();
    fs::write(directory.path().join("activemq.toml"), POLICIES).expect("a file");
    let show = |arguments: &[&str]| {
        let mut command = ferrymq(directory.path(), &[&["config", "show"], arguments].concat());
        command.env("FERRYMQ__BROKER__NAME", "x");
        let (code, stdout, stderr) = output(&mut command);
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        stdout
    };
    let line = |text: &str, key: &str| {
        let found = text
            .lines()
            .find(|line| line.starts_with(&format!("{key} = ")));
        let line = found.unwrap_or_else(|| panic!("no {key} in\n{text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let whole = show(&[]);
    assert_eq!(
        line(&whole, "listen"),
        "listen = \"127.0.0.1:0\" # activemq.toml:2:10"
    );
    assert_eq!(
        line(&whole, "name"),
        "name = \"x\" # environment FERRYMQ__BROKER__NAME"
    );
    assert_eq!(line(&whole, "headers_max"), "headers_max = 1000 # default");
    assert_eq!(
        line(&whole, "onNack"),
        "onNack = \"dlq\" # activemq.toml:14:10"
    );
    let policy = show(&["/queue/a"]);
    assert!(
        policy.starts_with("# /queue/a: policy 2 (queue = \"a\"), over policy 1 (queue = \">\"), over the defaults\n"),
        "{policy}"
    );
    assert_eq!(
        line(&policy, "onNack"),
        "onNack = \"dlq\" # policy 2, activemq.toml:14:10"
    );
    assert_eq!(
        line(&policy, "queuePrefetch"),
        "queuePrefetch = 1 # policy 1, activemq.toml:9:17"
    );
    assert_eq!(
        line(&policy, "topicPrefetch"),
        "topicPrefetch = 9 # destinations.topic_prefetch, activemq.toml:6:18"
    );
    assert_eq!(line(&policy, "overflow"), "overflow = \"wait\" # default");
    let (code, _, stderr) = output(&mut ferrymq(directory.path(), &["config", "show", "a.>"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is a pattern"), "{stderr}");
    let (code, _, stderr) = output(&mut ferrymq(
        directory.path(),
        &["check-config", "activemq.toml"],
    ));
    assert_eq!(code, Some(0));
    assert!(
        stderr.contains("useCache has no effect in policy 1 (queue = \">\")"),
        "{stderr}"
    );
}

#[test]
fn sighup_reads_policies_again_and_names_what_needs_a_restart() {
    let directory = directory();
    let path = directory.path().join("activemq.toml");
    fs::write(&path, POLICIES).expect("a file");
    let mut broker = Serving::start(directory, &[]);
    TcpStream::connect(broker.stomp_addr()).expect("it accepts connections");
    assert!(
        broker.log().contains("useCache has no effect"),
        "{}",
        broker.log()
    );
    fs::write(
        &path,
        format!("{POLICIES}queuePrefetch = 5\n[memory]\nlimit = \"50 %\"\n"),
    )
    .expect("a file");
    broker.signal("HUP");
    until("the reload", || {
        broker
            .log()
            .contains("configuration read again")
            .then_some(())
    });
    until("the key", || {
        broker.log().contains("memory.limit").then_some(())
    });
    fs::write(&path, "[[policy]]\nqueue = \"a\"\nqueuePrefech = 1\n").expect("a file");
    broker.signal("HUP");
    until("the problem", || {
        broker
            .log()
            .contains("queuePrefech: unknown key")
            .then_some(())
    });
    broker.signal("TERM");
    assert_eq!(broker.ended().code(), Some(0), "{}", broker.log());
}

#[test]
fn every_listener_is_told_and_the_certificate_is_read_again_on_sighup() {
    let authority = Authority::new();
    let tls = format!(
        "[tls]\ncertificate = {:?}\nprivate_key = {:?}\nreload_interval = \"1h\"\n",
        authority.path("certificate.pem"),
        authority.path("key.pem")
    );
    let directory = directory();
    fs::write(directory.path().join("activemq.toml"), tls).expect("a file");
    let any = "127.0.0.1:0";
    let flags = [
        "--stomp",
        any,
        "--stomp-tls",
        any,
        "--ws",
        any,
        "--wss",
        any,
    ];
    let mut broker = Serving::start(
        directory,
        &[&flags[..], &["--auto", any, "--ephemeral"]].concat(),
    );
    broker.stomp_addr();
    let ready = fs::read_to_string(broker.ready_file()).expect("it is there");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let log = broker.log();
    for name in ["stomp", "stomp_tls", "websocket", "websocket_tls", "auto"] {
        let address = ready[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {ready}"));
        assert!(log.contains(&format!(" {name}={address}")), "{log}");
        TcpStream::connect(address).expect("it listens");
    }
    authority.install(&authority.pair("renewed", 2099));
    broker.signal("HUP");
    until("the new certificate", || {
        broker.log().contains("certificate read anew").then_some(())
    });
    authority.write("certificate.pem", "nonsense");
    broker.signal("HUP");
    until("the refusal", || {
        let log = broker.log();
        let line = log
            .lines()
            .find(|line| line.contains("the old one stays"))?;
        assert!(
            line.contains("certificate.pem, which is tls.certificate: holds no"),
            "{line}"
        );
        Some(())
    });
    broker.signal("TERM");
    assert_eq!(broker.ended().code(), Some(0), "{}", broker.log());
}

#[test]
fn a_certificate_that_cannot_be_used_is_an_error_of_the_configuration() {
    let mut broker = Serving::start(directory(), &["--stomp-tls", "127.0.0.1:0", "--ephemeral"]);
    assert_eq!(broker.ended().code(), Some(2));
    let log = broker.log();
    assert!(
        log.contains("tls/certificate.pem, which is tls.certificate: No such file"),
        "{log}"
    );
}
