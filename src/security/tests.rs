use std::net::{IpAddr, Ipv4Addr};

use tokio::sync::oneshot;

use super::*;
use crate::broker::Destination;
use crate::broker::pattern::Syntax;
use crate::config::{AccessRule, CertificateUser, HashedPassword, User};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A hash that costs next to nothing.
fn cheap(password: &str) -> HashedPassword {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let params = argon2::Params::new(8, 1, 1, None).expect("parameters");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let salt = SaltString::from_b64("c29tZXNhbHQ").expect("a salt");
    let hash = argon2
        .hash_password(password.as_bytes(), &salt)
        .expect("a hash");
    HashedPassword::parse(&hash.to_string()).expect("it reads what it writes")
}

fn user(name: &str, password: &str, groups: &[&str]) -> User {
    User {
        name: name.to_owned(),
        password: cheap(password),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..User::default()
    }
}

fn settings(users: Vec<User>) -> config::Security {
    config::Security {
        user: users,
        ..config::Security::default()
    }
}

fn security(settings: &config::Security) -> Arc<Security> {
    Security::new(settings, Syntax::default(), Clock::system()).expect("it is correct")
}

fn attempt<'a>(name: Option<&'a str>, password: Option<&'a str>) -> Attempt<'a> {
    Attempt {
        name,
        password,
        certificate: None,
        remote: HERE,
    }
}

/// Logs in and waits for the decision; also says whether there was something to wait for.
async fn decide(
    security: &Arc<Security>,
    attempt: &Attempt<'_>,
) -> (Result<Access, Refused>, bool) {
    let (woken, wait) = oneshot::channel();
    match security.login(attempt, move || {
        let _ = woken.send(());
    }) {
        Login::Done(decided) => (decided, false),
        Login::Pending(mut pending) => {
            wait.await.expect("it is woken");
            (pending.take().expect("it is decided"), true)
        }
    }
}

async fn log_in(security: &Arc<Security>, name: &str, password: &str) -> Result<Access, Refused> {
    decide(security, &attempt(Some(name), Some(password)))
        .await
        .0
}

#[tokio::test]
async fn the_password_decides_and_is_remembered() {
    let security = security(&settings(vec![user("u", "right", &["g"])]));
    let right = attempt(Some("u"), Some("right"));
    let (access, waited) = decide(&security, &right).await;
    assert!(waited && access.expect("let in").user() == "u");
    let (access, waited) = decide(&security, &right).await;
    assert!(!waited && access.is_ok(), "verified again");
    for (name, password) in [
        (Some("u"), Some("wrong")),
        (Some("u"), None),
        (Some("v"), Some("right")),
        (None, Some("right")),
    ] {
        let refused = decide(&security, &attempt(name, password)).await.0;
        let text = refused.expect_err("refused").to_string();
        let name = name.unwrap_or_default();
        assert_eq!(text, format!("User name [{name}] or password is invalid."));
    }
    let nothing = decide(&security, &attempt(None, Some(""))).await;
    assert!(nothing.0.is_err() && !nothing.1);
}

#[tokio::test]
async fn without_users_anybody_comes_in() {
    let security = security(&config::Security::default());
    let access = log_in(&security, "whoever", "whatever")
        .await
        .expect("let in");
    assert_eq!((access.user(), access.user_id()), ("whoever", None));
    assert!(access.check(Right::Write, &Destination::queue("q")).is_ok());
}

/// Spec: behaviour SEC-3.
#[tokio::test]
async fn strangers_come_in_only_with_nothing_in_their_hands() {
    let mut settings = settings(vec![user("u", "right", &[])]);
    settings.anonymous_access = true;
    settings.anonymous_user = "guest".to_owned();
    let security = security(&settings);
    let access = decide(&security, &attempt(None, None)).await.0;
    assert_eq!(access.expect("let in").user(), "guest");
    assert!(
        decide(&security, &attempt(Some("x"), None))
            .await
            .0
            .is_err()
    );
    assert!(
        decide(&security, &attempt(None, Some("x")))
            .await
            .0
            .is_err()
    );
}

/// Spec: behaviour SEC-8.
#[tokio::test]
async fn a_certificate_stands_for_a_user_where_no_name_is_sent() {
    let mut settings = settings(vec![user("orders", "right", &["g"])]);
    for (dn, user) in [("CN=orders,O=Example", "orders"), ("CN=ghost", "ghost")] {
        settings.certificate.push(CertificateUser {
            dn: dn.to_owned(),
            user: user.to_owned(),
        });
    }
    let security = security(&settings);
    let access = security.login_by_certificate("CN=orders, O=Example");
    assert_eq!(access.expect("let in").user(), "orders");
    assert!(
        security.login_by_certificate("CN=ghost").is_err(),
        "no such user"
    );
    assert!(security.login_by_certificate("CN=other").is_err());
    let shown = Attempt {
        certificate: Some("cn=orders,o=Example"),
        ..attempt(None, None)
    };
    assert_eq!(
        decide(&security, &shown).await.0.expect("let in").user(),
        "orders"
    );
    // A name that is sent counts, and its password has to be right.
    let named = Attempt {
        name: Some("orders"),
        ..shown
    };
    assert!(decide(&security, &named).await.0.is_err());
}

/// Spec: behaviour SEC-9.
#[tokio::test]
async fn a_user_has_no_more_connections_than_it_may() {
    let mut settings = settings(vec![user("u", "right", &[]), user("v", "right", &[])]);
    settings.user[0].connections_max = 2;
    let security = security(&settings);
    let first = log_in(&security, "u", "right").await.expect("one");
    let _second = log_in(&security, "u", "right").await.expect("two");
    let refused = log_in(&security, "u", "right").await.expect_err("three");
    assert!(
        refused
            .to_string()
            .contains("User u has 2 connections already")
    );
    assert!(log_in(&security, "v", "right").await.is_ok());
    drop(first);
    assert!(log_in(&security, "u", "right").await.is_ok());
}

#[tokio::test]
async fn a_reload_changes_what_connections_may_do_and_who_may_come() {
    let rule = |group: &str| AccessRule {
        queue: "q".to_owned(),
        write: vec![group.to_owned()],
        ..AccessRule::default()
    };
    let mut settings = settings(vec![user("u", "right", &["a"]), user("v", "right", &[])]);
    settings.acl.push(rule("a"));
    let security = security(&settings);
    let mut access = log_in(&security, "u", "right").await.expect("let in");
    let mut other = log_in(&security, "v", "right").await.expect("let in");
    let queue = Destination::queue("q");
    assert!(access.check(Right::Write, &queue).is_ok());
    assert_eq!(access.refresh(), Change::None);

    settings.acl[0] = rule("b");
    settings.user = vec![user("u", "changed", &["a"])];
    security.reload(&settings).expect("it is correct");
    assert!(access.check(Right::Write, &queue).is_ok(), "not looked yet");
    assert_eq!(access.refresh(), Change::Changed);
    assert_eq!(other.refresh(), Change::Gone);
    let denied = access.check(Right::Write, &queue).expect_err("denied");
    assert_eq!(
        denied.to_string(),
        "User u is not authorized to write to: queue://q"
    );
    assert!(
        log_in(&security, "u", "right").await.is_err(),
        "remembered too long"
    );

    settings.users_file = "/no/such/file".to_owned();
    let refused = security
        .reload(&settings)
        .expect_err("no such file")
        .to_string();
    assert!(
        refused.starts_with("/no/such/file: cannot be read"),
        "{refused}"
    );
    assert_eq!(access.refresh(), Change::None);
}

#[tokio::test]
async fn who_came_in_without_a_login_is_gone_when_there_are_users() {
    let security = security(&config::Security::default());
    let mut access = log_in(&security, "u", "x").await.expect("let in");
    security
        .reload(&settings(vec![user("u", "right", &[])]))
        .expect("correct");
    assert_eq!(access.refresh(), Change::Gone);
}

#[tokio::test(start_paused = true)]
async fn guessing_waits_and_a_remembered_password_is_no_way_around() {
    let mut settings = settings(vec![user("u", "right", &[]), user("v", "right", &[])]);
    settings.login_delay = config::Duration::from_millis(30_000);
    settings.login_delay_max = config::Duration::from_millis(60_000);
    let security = security(&settings);
    assert!(log_in(&security, "u", "right").await.is_ok());
    for wrong in ["one", "two", "three"] {
        assert!(log_in(&security, "u", wrong).await.is_err());
    }
    let started = tokio::time::Instant::now();
    let (access, waited) = decide(&security, &attempt(Some("u"), Some("right"))).await;
    assert!(waited && access.is_ok());
    assert!(started.elapsed() >= std::time::Duration::from_secs(29));
    assert!(
        decide(&security, &attempt(Some("v"), Some("right")))
            .await
            .0
            .is_ok()
    );
}

/// A client with an old password once made everybody of its name and address wait for ever.
#[tokio::test(start_paused = true)]
async fn the_same_wrong_password_again_makes_nobody_else_wait() {
    let security = security(&settings(vec![user("u", "right", &[])]));
    for name in ["u", "nobody"] {
        for _ in 0..10 {
            assert!(log_in(&security, name, "old").await.is_err());
        }
    }
    let started = tokio::time::Instant::now();
    assert!(log_in(&security, "u", "right").await.is_ok());
    assert!(started.elapsed() < std::time::Duration::from_millis(400));
    // What was wrong is right when the password is changed to it.
    security
        .reload(&settings(vec![user("u", "old", &[])]))
        .expect("correct");
    assert!(log_in(&security, "u", "old").await.is_ok());
    assert!(log_in(&security, "u", "right").await.is_err());
}

#[test]
fn nothing_shows_a_password_or_hash() {
    let settings = settings(vec![user("u", "hunter2", &[])]);
    let security = security(&settings);
    let shown = format!("{settings:?} {security:?} {:?}", security.current.load());
    assert!(
        !shown.contains("argon2") && !shown.contains("hunter2"),
        "{shown}"
    );
}
