//! Users and access rules as clients and operators meet them. Spec: behaviour CON-7, ERR-5, SEC-1 to SEC-11.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use ferrymq::config::{AccessRule, CertificateUser, Config, HashedPassword, User};
use ferrymq::security::Password;
use tempfile::TempDir;

use crate::cli::{Serving, ferrymq, output};
use crate::wait::until;
use crate::wire::carrier;
use crate::wire::client::{Client, frame};
use crate::wire::server::{Over, Server};

/// Cases of the list that are tested here.
pub(crate) const COVERED: &[&str] = &["C022", "C023", "C024", "C129", "C143", "C201", "C351"];

/// A hash that costs next to nothing to verify.
pub(crate) fn cheap(password: &str) -> HashedPassword {
    use argon2::password_hash::{PasswordHasher, SaltString};
    use argon2::{Algorithm, Argon2, Params, Version};
    let params = Params::new(8, 1, 1, None).expect("parameters");
    let salt = SaltString::from_b64("c29tZXNhbHQ").expect("a salt");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2
        .hash_password(password.as_bytes(), &salt)
        .expect("a hash");
    HashedPassword::parse(&hash.to_string()).expect("a hash")
}

fn list(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// A user whose password is the name and `-secret`.
pub(crate) fn user(name: &str, groups: &str) -> User {
    User {
        name: name.to_owned(),
        password: cheap(&format!("{name}-secret")),
        groups: list(groups),
        ..User::default()
    }
}

pub(crate) fn rule(queue: &str, [read, write, admin]: [&str; 3]) -> AccessRule {
    AccessRule {
        queue: queue.to_owned(),
        read: list(read),
        write: list(write),
        admin: list(admin),
        ..AccessRule::default()
    }
}

pub(crate) fn config(users: Vec<User>, rules: Vec<AccessRule>) -> Config {
    let mut config = Config::default();
    config.broker.ephemeral = true;
    config.security.user = users;
    config.security.acl = rules;
    // For fences.
    if !config.security.acl.is_empty() {
        let mut fence = rule("", ["", "*", "*"]);
        fence.topic = "fence".to_owned();
        config.security.acl.push(fence);
    }
    config
}

pub(crate) fn login(name: &str) -> String {
    format!("CONNECT accept-version:1.2 host:x login:{name} passcode:{name}-secret")
}

fn client(server: &Server, name: &str) -> Client {
    Client::connect(server.address(), &login(name))
}

const INVALID: &str = "ERROR message:'User name [u] or password is invalid.'";

#[test]
fn a_wrong_or_missing_login_is_refused_and_says_nothing_more() {
    let server = Server::of(config(vec![user("u", "")], vec![]));
    server.connects(&login("u"), "CONNECTED version:1.2");
    for head in [
        "CONNECT accept-version:1.2 login:u passcode:hunter2",
        "CONNECT accept-version:1.2 login:u",
        "CONNECT login:u passcode:hunter2 passcode:u-secret",
    ] {
        let mut client = server.open();
        client.put(head);
        let error = client.expect(INVALID);
        assert!(!error.text().contains("hunter2"), "{error:?}");
        assert!(!error.text().contains("src/"), "{error:?}");
        client.closed();
    }
    server.turned_away(
        "CONNECT accept-version:1.2 login:v passcode:x",
        "ERROR message:'User name [v] or password is invalid.'",
    );
    server.turned_away(
        "CONNECT accept-version:1.2",
        "ERROR message:'User name [] or password is invalid.'",
    );
    server.until_only(0);
}

/// The frames behind CONNECT wait with it.
#[test]
fn what_comes_right_behind_connect_is_carried_out_after_the_login() {
    let server = Server::of(config(vec![user("u", "")], vec![]));
    let mut client = server.open();
    let mut octets = frame(&login("u"), "");
    octets.extend(frame("SEND destination:/queue/q receipt:1", "x"));
    client.raw(octets);
    client.expect("CONNECTED");
    client.expect("RECEIPT receipt-id:1");
}

#[test]
fn strangers_come_in_where_they_may() {
    let mut config = config(
        vec![user("u", "")],
        vec![rule("open", ["anonymous", "*", "*"])],
    );
    config.security.anonymous_access = true;
    let server = Server::of(config);
    let mut client = server.client();
    client.send("/queue/open", "x");
    client.refused(
        "SEND destination:/queue/other",
        "ERROR message:'User anonymous is not authorized to write to\\c queue\\c//other'",
    );
    server.turned_away(
        "CONNECT accept-version:1.2 login:u",
        "ERROR message:'User name [u] or password is invalid.'",
    );
}

/// A server with a queue `q` that `admin` has made.
fn with_rules() -> Server {
    let rules = vec![
        rule("q", ["readers", "writers", "user:admin"]),
        rule("q.>", ["readers", "writers", "admins"]),
    ];
    let users = vec![
        user("admin", "readers writers admins"),
        user("reader", "readers"),
        user("writer", "writers"),
    ];
    let server = Server::of(config(users, rules));
    client(&server, "admin").send("/queue/q", "0");
    server
}

#[test]
fn rules_decide_who_sends_subscribes_and_creates() {
    let server = with_rules();
    let (mut reader, mut writer) = (client(&server, "reader"), client(&server, "writer"));
    writer.send("/queue/q", "1");
    reader.refused(
        "SEND destination:/queue/q",
        "ERROR message:'User reader is not authorized to write to\\c queue\\c//q' !ack",
    );
    writer.refused(
        "SUBSCRIBE id:1 destination:/queue/q",
        "ERROR message:'User writer is not authorized to read from\\c queue\\c//q'",
    );
    writer.refused(
        "SEND destination:/queue/q.new",
        "ERROR message:'User writer is not authorized to create\\c queue\\c//q.new'",
    );
    writer.refused(
        "SEND destination:/topic/q",
        "ERROR message:'User writer is not authorized to write to\\c topic\\c//q'",
    );
    reader.refused(
        "SUBSCRIBE id:1 destination:/queue/other",
        "ERROR message:'User reader is not authorized to read from\\c queue\\c//other'",
    );
    let transacted = ["BEGIN transaction:t", "COMMIT transaction:t"];
    reader.ask(transacted[0]);
    reader.put("SEND destination:/queue/q transaction:t");
    reader.expect("ERROR message~'not authorized to write'");
    reader.ask(transacted[1]);
    assert_eq!(server.queue_len("q"), 2);
    let mut admin = client(&server, "admin");
    admin.send("/queue/q.new", "x");
    writer.send("/queue/q.new", "y");
    reader.ask("SUBSCRIBE id:1 destination:/queue/q");
    reader.messages(["0", "1"]);
}

#[test]
fn a_durable_subscription_is_removed_only_by_who_may_read_its_topic() {
    let mut news = rule("", ["readers", "", "readers"]);
    news.topic = "news".to_owned();
    let users = vec![user("reader", "readers"), user("other", "")];
    let server = Server::of(config(users, vec![news]));
    let named = |name| format!("{} client-id:c", login(name));
    let mut reader = Client::connect(server.address(), &named("reader"));
    reader.ask("SUBSCRIBE id:1 destination:/topic/news activemq.subscriptionName:s");
    reader.ask("DISCONNECT");
    server.until_only(0);
    let mut other = Client::connect(server.address(), &named("other"));
    other.refused(
        "UNSUBSCRIBE id:1 activemq.subscriptionName:s",
        "ERROR message:'User other is not authorized to read from\\c topic\\c//news'",
    );
    other.ask("DISCONNECT");
    server.until_only(0);
    let mut reader = Client::connect(server.address(), &named("reader"));
    reader.ask("UNSUBSCRIBE id:1 activemq.subscriptionName:s");
}

/// Spec: behaviour SEC-4. Nothing is sent, nor made, if a part may not be.
#[test]
fn each_part_of_a_list_and_all_of_a_wildcard_must_be_allowed() {
    let server = with_rules();
    let mut admin = client(&server, "admin");
    for refused in ["/queue/q,/queue/other", "/queue/q.new,/topic/other"] {
        admin.refused(
            &format!("SEND destination:{refused}"),
            "ERROR message~'User admin is not authorized to write to'",
        );
        admin.refused(
            &format!("SUBSCRIBE id:1 destination:{refused}"),
            "ERROR message~'User admin is not authorized to read from'",
        );
    }
    admin.ask("BEGIN transaction:t");
    admin.put("SEND destination:/queue/q,/queue/other transaction:t");
    admin.expect("ERROR message~'not authorized to write'");
    admin.ask("COMMIT transaction:t");
    assert_eq!(server.queue_len("q"), 1);
    client(&server, "writer").refused(
        "SEND destination:/queue/q.new",
        "ERROR message~'not authorized to create'",
    );
    admin.send("/queue/q,/queue/q.new", "1");
    assert_eq!((server.queue_len("q"), server.queue_len("q.new")), (2, 1));

    let mut reader = client(&server, "reader");
    for pattern in [
        "/queue/>",
        "/queue/*",
        "/queue/q.new,/queue/>",
        "/topic/q.>",
    ] {
        reader.refused(
            &format!("SUBSCRIBE id:1 destination:{pattern}"),
            "ERROR message~'User reader is not authorized to read from'",
        );
    }
    reader.ask("SUBSCRIBE id:1 destination:/queue/q.*");
    reader.message("1");
    reader.fence();
    // A list ends when one of its parts may not be read any more.
    reader.ask("SUBSCRIBE id:2 destination:/queue/q,/queue/q.new");
    reader.messages(["0", "1"]);
    let users = vec![user("reader", "readers"), user("admin", "writers admins")];
    let rules = vec![
        rule("q", ["", "writers", ""]),
        rule("q.*", ["readers", "writers", "admins"]),
    ];
    server.reload(config(users, rules)).expect("it is correct");
    reader.expect(
        "ERROR message:'User reader is not authorized to read from\\c queue\\c//q; the subscription 2 has ended'",
    );
    admin.send("/queue/q.new", "2");
    reader.message("2");
    reader.fence();
}

/// Temporary destinations are their owner's; a rule about them says who else may send there.
#[test]
fn rules_may_say_who_answers_to_temporary_destinations() {
    let server = with_rules();
    let (mut reader, mut writer) = (client(&server, "reader"), client(&server, "writer"));
    let mut admin = client(&server, "admin");
    admin.ask("SUBSCRIBE id:1 destination:/temp-queue/answers");
    admin.ask("SEND destination:/queue/q reply-to:/temp-queue/answers");
    reader.ask("SUBSCRIBE id:1 destination:/queue/q");
    reader.message("0");
    let answers = reader.message("").must("reply-to").to_owned();
    reader.send(&answers, "by reader");
    writer.send(&answers, "by writer");
    admin.messages(["by reader", "by writer"]);

    let users = vec![
        user("reader", "readers"),
        user("writer", "writers"),
        user("admin", ""),
    ];
    let mut temporary = rule("", ["", "writers", ""]);
    temporary.temp = ">".to_owned();
    server
        .reload(config(users, vec![temporary]))
        .expect("it is correct");
    reader.expect("ERROR message~'the subscription 1 has ended'");
    reader.refused(
        &format!("SEND destination:{answers}"),
        "ERROR message~'User reader is not authorized to write to\\c temp-queue\\c//ID-'",
    );
    writer.send(&answers, "by writer");
    admin.message("by writer");
    admin.put_with("SEND destination:/temp-queue/answers", "by its owner");
    admin.message("by its owner");
}

/// Also for the short way that a SEND takes which repeats the one before.
#[test]
fn changed_rules_hold_at_once_on_open_connections() {
    let server = with_rules();
    let (mut reader, mut writer) = (client(&server, "reader"), client(&server, "writer"));
    let mut admin = client(&server, "admin");
    reader.ask("SUBSCRIBE id:s1 destination:/queue/q ack:client-individual");
    reader.message("0");
    for _ in 0..3 {
        writer.put_with("SEND destination:/queue/q", "1");
    }
    reader.messages(["1", "1", "1"]);

    let users = vec![user("admin", "readers writers admins"), user("reader", "")];
    let mut users_and_writer = users.clone();
    users_and_writer.push(user("writer", ""));
    let rules = vec![rule("q", ["readers", "writers", ""])];
    server
        .reload(config(users_and_writer, rules.clone()))
        .expect("it is correct");
    reader.expect(
        "ERROR message:'User reader is not authorized to read from\\c queue\\c//q; the subscription s1 has ended'",
    );
    writer.put_with("SEND destination:/queue/q", "1");
    writer.expect("ERROR message:'User writer is not authorized to write to\\c queue\\c//q'");
    // What it had not acknowledged went back.
    admin.ask("SUBSCRIBE id:1 destination:/queue/q");
    admin.messages(["0", "1", "1", "1"]);
    reader.fence();

    server.reload(config(users, rules)).expect("it is correct");
    writer.expect("ERROR message:'User name [writer] or password is invalid.'");
    writer.closed();
    reader.fence();
}

#[test]
fn a_wrong_reload_changes_nothing() {
    let server = Server::of(config(vec![user("u", "")], vec![]));
    let mut wrong = config(vec![], vec![]);
    wrong.security.users_file = "/no/such/users".to_owned();
    let error = server.reload(wrong).expect_err("no such file").to_string();
    assert!(error.contains("/no/such/users: cannot be read"), "{error}");
    server.turned_away("CONNECT login:v passcode:x", "ERROR message~'[v]'");
    server.connects(&login("u"), "CONNECTED");
}

/// Spec: behaviour SEC-11.
#[test]
fn receivers_are_told_the_user_and_never_what_a_client_says_it_is() {
    let mut told = config(vec![user("system", "")], vec![]);
    told.security.populate_jmsx_user_id = true;
    let server = Server::of(told.clone());
    let mut client = client(&server, "system");
    client.ask("SUBSCRIBE id:1 destination:/queue/q");
    for _ in 0..2 {
        client.put("SEND destination:/queue/q JMSXUserID:root a:b");
        let message = client.expect("MESSAGE JMSXUserID:system a:b");
        let count = message
            .headers
            .iter()
            .filter(|(name, _)| name == "JMSXUserID");
        assert_eq!(count.count(), 1, "{message:?}");
    }
    told.security.populate_jmsx_user_id = false;
    server.reload(told).expect("it is correct");
    client.put("SEND destination:/queue/q JMSXUserID:root a:b");
    client.expect("MESSAGE !JMSXUserID a:b");
}

/// Spec: behaviour SEC-9.
#[test]
fn a_user_has_no_more_connections_than_it_may() {
    let mut limited = user("u", "");
    limited.connections_max = 1;
    let server = Server::of(config(vec![limited], vec![]));
    let mut first = client(&server, "u");
    server.turned_away(
        &login("u"),
        "ERROR message~'User u has 1 connections already'",
    );
    first.ask("DISCONNECT");
    first.closed();
    drop(client(&server, "u"));
}

/// Spec: behaviour SEC-8.
#[test]
fn a_certificate_logs_in_where_no_name_is_sent() {
    let server = Server::over(Over::Tls, |config| {
        config.tls.want_client_auth = true;
        config.security.user = vec![user("orders", "writers"), user("other", "")];
        config.security.certificate = vec![CertificateUser {
            dn: "CN=app, O=Example".to_owned(),
            user: "orders".to_owned(),
        }];
        config.security.populate_jmsx_user_id = true;
    });
    let authority = server.authority();
    let says = |name: Option<&str>, head: &str| {
        let own = name.map(|name| authority.pair(name, 2100));
        let config = authority.client(own.as_ref());
        let mut stream = carrier::tls(server.tcp("stomp_tls"), config);
        let octets = [
            frame(head, ""),
            frame("SUBSCRIBE id:1 destination:/queue/q", ""),
            frame("SEND destination:/queue/q", "x"),
            frame("DISCONNECT receipt:bye", ""),
        ];
        stream.write_all(&octets.concat()).expect("it reads");
        let mut answer = String::new();
        // How a refused connection ends is not the question here.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let connect = "CONNECT accept-version:1.2 host:x";
    let answer = says(Some("app"), connect);
    assert!(answer.contains("JMSXUserID:orders\n"), "{answer}");
    let answer = says(Some("app"), &login("other"));
    assert!(answer.contains("JMSXUserID:other\n"), "{answer}");
    for name in [Some("unknown"), None] {
        let answer = says(name, connect);
        assert!(answer.starts_with("ERROR\n"), "{answer}");
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn passwd(directory: &Path, arguments: &[&str], password: &str) -> (Option<i32>, String, String) {
    let mut command = ferrymq(directory, &[&["passwd"], arguments].concat());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ferrymq runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // It does not read what it does not ask for.
    let _ = writeln!(stdin, "{password}");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |octets: Vec<u8>| String::from_utf8(octets).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn passwd_makes_changes_and_removes_users() {
    let directory = directory();
    let path = directory.path().join("users");
    let add = ["--file", "users", "--groups", "a,b", "--stdin", "u"];
    let (code, stdout, stderr) = passwd(directory.path(), &add, "one");
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "users: new user u\n"),
        "{stderr}"
    );
    let line = fs::read_to_string(&path).expect("it is there");
    assert!(
        line.starts_with("u:$argon2id$v=19$m=19456,t=2,p=1$") && line.ends_with(":a,b\n"),
        "{line}"
    );

    // Without groups they stay.
    let (code, stdout, _) = passwd(
        directory.path(),
        &["--file", "users", "--stdin", "u"],
        "two",
    );
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "users: changed user u\n")
    );
    let users = ferrymq::security::users_file::read(&path).expect("it is correct");
    assert!(Password::new("two").matches(&users[0].password));
    assert_eq!(users[0].groups, ["a", "b"]);

    let (code, hash, _) = passwd(directory.path(), &["--print", "--stdin", "u"], "three");
    let hash = HashedPassword::parse(&hash).expect("a hash");
    assert!(code == Some(0) && Password::new("three").matches(&hash));

    let delete = ["--file", "users", "--delete", "u"];
    assert_eq!(passwd(directory.path(), &delete, "").0, Some(0));
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "");
    let (code, _, stderr) = passwd(directory.path(), &delete, "");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("users: there is no user u"), "{stderr}");
    let (code, _, stderr) = passwd(directory.path(), &["--file", "users", "u"], "three");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("--stdin"), "{stderr}");
    let (code, _, stderr) = passwd(directory.path(), &["--stdin", "u"], "three");
    assert_eq!(code, Some(1));
    assert!(stderr.contains("security.users_file"), "{stderr}");
}

#[test]
fn passwd_takes_over_users_of_activemq() {
    let directory = directory();
    fs::write(directory.path().join("u.properties"), "system=manager\n").expect("written");
    fs::write(directory.path().join("g.properties"), "admins=system\n").expect("written");
    let import = [
        "--file",
        "users",
        "--import",
        "u.properties",
        "--import-groups",
        "g.properties",
    ];
    let (code, stdout, stderr) = passwd(directory.path(), &import, "");
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "users: 1 new users, 0 changed\n"),
        "{stderr}"
    );
    let path = directory.path().join("users");
    let users = ferrymq::security::users_file::read(&path).expect("it is correct");
    assert!(Password::new("manager").matches(&users[0].password));
    assert_eq!(users[0].groups, ["admins"]);
}

#[test]
fn a_plain_password_is_refused_with_the_way_out() {
    let directory = directory();
    let file = "[[security.user]]\nname = \"u\"\npassword = \"hunter2\"\n[[security.acl]]\nread = [\"a\"]\n";
    fs::write(directory.path().join("a.toml"), file).expect("a file");
    let (code, _, stderr) = output(&mut ferrymq(directory.path(), &["check-config", "a.toml"]));
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("a.toml:3:12: security.user[1].password: is no password hash"),
        "{stderr}"
    );
    assert!(stderr.contains("`ferrymq passwd`"), "{stderr}");
    assert!(
        stderr.contains("a.toml:4:1: security.acl[1].queue: one of queue"),
        "{stderr}"
    );
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

/// Serves with a users file, at the finest log, and a password that is nowhere else.
#[test]
fn files_are_read_again_and_no_password_gets_into_the_log() {
    let directory = directory();
    let config = "[stomp]\nlisten = \"127.0.0.1:0\"\n[broker]\nephemeral = true\n[log]\nlevel = \"trace\"\n\
                  [security]\nusers_file = \"users\"\n";
    fs::write(directory.path().join("activemq.toml"), config).expect("a file");
    let hash = |name: &str| cheap(&format!("{name}-secret")).reveal().to_owned();
    let users = directory.path().join("users");
    fs::write(&users, format!("u:{}:a\n", hash("u"))).expect("a file");
    fs::set_permissions(&users, Permissions::from_mode(0o644)).expect("its own file");
    let mut broker = Serving::start(directory, &[]);
    let address = broker.stomp_addr();
    let mut client = Client::connect(address, &login("u"));
    client.ask("SEND destination:/queue/q");
    let mut wrong = Client::open(address);
    wrong.fatal("CONNECT login:u passcode:hunter2", INVALID);

    // Broken: told with its place, and nothing changes.
    fs::write(&users, "u:hunter2:a\n").expect("a file");
    broker.signal("HUP");
    until("the broken file to be told", || {
        let log = broker.log();
        let told = "users:1: the password of u is no password hash";
        log.lines()
            .any(|line| line.contains("ERROR") && line.contains(told))
            .then_some(())
    });
    drop(Client::connect(address, &login("u")));

    // Noticed without a signal.
    fs::write(&users, format!("v:{}:\n", hash("v"))).expect("a file");
    client.expect("ERROR message:'User name [u] or password is invalid.'");
    client.closed();
    drop(Client::connect(address, &login("v")));
    broker.signal("TERM");
    assert_eq!(broker.ended().code(), Some(0), "{}", broker.log());
    let log = broker.log();
    for part in [
        "wrong name or password",
        "DEBUG",
        "everybody on this machine can read",
    ] {
        assert!(log.contains(part), "no {part:?} in\n{log}");
    }
    for secret in ["hunter2", "u-secret", "v-secret", "argon2id"] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
}

/// Spec: behaviour SEC-1.
#[test]
fn users_make_a_public_address_acceptable() {
    let directory = directory();
    let check = |rest: &str| {
        let file = format!("[stomp]\nlisten = \"0.0.0.0:0\"\n[security]\n{rest}");
        fs::write(directory.path().join("a.toml"), file).expect("a file");
        output(&mut ferrymq(directory.path(), &["check-config", "a.toml"])).0
    };
    assert_eq!(check(""), Some(2));
    assert_eq!(check("users_file = \"users\"\n"), Some(2), "no such file");
    fs::write(directory.path().join("users"), "").expect("a file");
    assert_eq!(check("users_file = \"users\"\n"), Some(0));
    assert_eq!(
        check("users_file = \"users\"\nanonymous_access = true\n"),
        Some(2)
    );
    assert_eq!(
        check(
            "users_file = \"users\"\nanonymous_access = true\n[[security.acl]]\nqueue = \"a\"\nread = [\"anonymous\"]\n"
        ),
        Some(0)
    );
}

/// Blocks of one language in a page.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    page.split(&*opening)
        .skip(1)
        .map(|rest| rest.split("```").next().expect("there is one always"))
        .collect()
}

/// In order and in one directory: a configuration becomes activemq.toml, commands run where a reader would run them.
#[test]
fn what_the_page_shows_works() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let directory = directory();
    let (configurations, commands) = (blocks(&page, "toml"), blocks(&page, "sh"));
    assert!(
        configurations.len() >= 4 && commands.len() >= 3,
        "the page has snippets"
    );
    fs::write(directory.path().join("activemq.toml"), configurations[0]).expect("a file");
    let ferrymq_path = Path::new(env!("CARGO_BIN_EXE_ferrymq"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![ferrymq_path.parent().expect("a directory").to_owned()];
    places.extend(std::env::split_paths(&path));
    let path = std::env::join_paths(places).expect("a path");
    for command in commands {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-e", "-c", command])
            .current_dir(directory.path());
        let (code, _, stderr) = output(shell.env("PATH", &path).stdin(Stdio::null()));
        assert_eq!(code, Some(0), "{command}\n{stderr}");
    }
    for configuration in configurations {
        fs::write(directory.path().join("a.toml"), configuration).expect("a file");
        let (code, _, stderr) = output(&mut ferrymq(directory.path(), &["check-config", "a.toml"]));
        assert_eq!(code, Some(0), "{configuration}\n{stderr}");
    }
}

/// Many at a time, as after a network failure: each is answered, whoever has to wait for whom.
#[test]
fn a_crowd_that_comes_back_gets_in() {
    let server = Server::of(config(vec![user("u", ""), user("v", "")], vec![]));
    let mut clients: Vec<Client> = (0..300).map(|_| server.open()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.put(&login(if number % 2 == 0 { "u" } else { "v" }));
    }
    for client in &mut clients {
        client.expect("CONNECTED");
    }
    server.until_only(300);
    drop(clients);
    server.until_only(0);
}

/// A login that waits for its turn holds nobody up, and ends with its connection.
#[test]
fn a_login_that_waits_holds_up_nobody_and_is_given_up_with_its_connection() {
    let mut slow = config(vec![user("u", ""), user("v", "")], vec![]);
    slow.security.login_delay = ferrymq::config::Duration::from_millis(60_000);
    slow.security.login_delay_max = slow.security.login_delay;
    slow.stomp.connect_timeout = ferrymq::config::Duration::from_millis(5_000);
    let server = Server::of(slow);
    for number in 0..3 {
        let head = format!("CONNECT login:u passcode:guess{number}");
        server.turned_away(&head, "ERROR message~'[u]'");
    }
    let mut waiting = server.open();
    waiting.put(&login("u"));
    server.connects(&login("v"), "CONNECTED version:1.2");
    waiting.closed();
    // Its turn was taken all the same, so the next is too far behind.
    server.turned_away(&login("u"), "ERROR message~'[u]'");
}
