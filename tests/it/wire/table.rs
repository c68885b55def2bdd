//! A table of cases: all of them run, and every one that fails is reported by its number.

use std::any::Any;
use std::thread;

use super::server::Server;

/// A case of the list, or a rule with more to it than a case says.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    run: fn(&Server),
}

/// Makes a case; it fails by a panic.
pub(crate) const fn case(name: &'static str, run: fn(&Server)) -> Case {
    Case { name, run }
}

/// Runs all cases at a time against one broker.
///
/// # Panics
/// With the names of the cases that failed and what each got.
pub(crate) fn check(cases: &[Case]) {
    check_on(&Server::start(), cases, &[]);
}

/// The same on a given broker, without the cases `except`.
///
/// # Panics
/// As [`check`], and if an exception is no case.
pub(crate) fn check_on(server: &Server, cases: &[Case], except: &[&str]) {
    for name in except {
        assert!(cases.iter().any(|case| case.name == *name), "no {name}");
    }
    let cases: Vec<&Case> = cases
        .iter()
        .filter(|case| !except.contains(&case.name))
        .collect();
    let failed: Vec<String> = thread::scope(|scope| {
        let running: Vec<_> = cases
            .iter()
            .map(|case| (case.name, scope.spawn(|| (case.run)(server))))
            .collect();
        let outcomes = running.into_iter().map(|(name, case)| (name, case.join()));
        outcomes
            .filter_map(|(name, outcome)| Some(format!("{name}: {}", said(&*outcome.err()?))))
            .collect()
    });
    assert!(
        failed.is_empty(),
        "{} of {} cases failed:\n{}\n",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}
