//! The users file: one `name:hash:groups` per line, groups separated by commas; empty lines and those that begin with
//! `#` count for nothing.
//!
//! It is read whole or not at all, and replaced whole: who reads it while it is written sees the old one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::config::{HashedPassword, User, is_name};

/// What is wrong with a users file, line by line.
#[derive(Debug, Error)]
pub enum UsersFileError {
    /// It cannot be read.
    #[error("{}: cannot be read, which is security.users_file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Some lines are wrong.
    #[error("{}", Lines(.0))]
    Wrong(Vec<String>),
}

struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n  "))
    }
}

/// Reads a users file.
///
/// # Errors
/// It cannot be read, or every line that is wrong with its number.
pub fn read(path: &Path) -> Result<Vec<User>, UsersFileError> {
    let unreadable = |source| UsersFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    if fs::metadata(path).map_err(unreadable)?.mode() & 0o007 != 0 {
        let path = path.display();
        tracing::warn!(%path, "everybody on this machine can read or write the users file: chmod o-rwx");
    }
    parse(&text).map_err(|problems| {
        let at = |(line, text): &(usize, String)| format!("{}:{line}: {text}", path.display());
        UsersFileError::Wrong(problems.iter().map(at).collect())
    })
}

/// Reads the text of a users file; what is wrong is told with its line.
pub(super) fn parse(text: &str) -> Result<Vec<User>, Vec<(usize, String)>> {
    let mut users: Vec<User> = Vec::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        match parse_line(line) {
            None => {}
            Some(Ok(user)) if users.iter().any(|known| known.name == user.name) => {
                problems.push((number, format!("there is a user {} already", user.name)));
            }
            Some(Ok(user)) => users.push(user),
            Some(Err(text)) => problems.push((number, text)),
        }
    }
    if problems.is_empty() {
        Ok(users)
    } else {
        Err(problems)
    }
}

fn parse_line(line: &str) -> Option<Result<User, String>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let parts: Vec<&str> = line.split(':').collect();
    let [name, hash, groups @ ..] = &parts[..] else {
        return Some(Err("expected name:hash:groups".to_owned()));
    };
    Some(user_of(name, hash, groups))
}

fn user_of(name: &str, hash: &str, groups: &[&str]) -> Result<User, String> {
    if !is_name(name) {
        return Err(format!("{name:?} cannot be the name of a user"));
    }
    let password =
        HashedPassword::parse(hash).map_err(|text| format!("the password of {name} {text}"))?;
    let groups = match groups {
        [] | [""] => Vec::new(),
        [groups] => groups
            .split(',')
            .map(|group| group.trim().to_owned())
            .collect(),
        // Not shown: it may be a password with a colon in it.
        _ => return Err(format!("too many colons in the line of {name}")),
    };
    if let Some(group) = groups.iter().find(|group| !is_name(group)) {
        return Err(format!("{group:?} cannot be a group of {name}"));
    }
    Ok(User {
        name: name.to_owned(),
        password,
        groups,
        ..User::default()
    })
}

/// The line of a user.
fn line_of(user: &User) -> String {
    format!(
        "{}:{}:{}",
        user.name,
        user.password.reveal(),
        user.groups.join(",")
    )
}

/// Puts users in, in place of those of their names, and takes users out. Every other line stays as it is. Gives the
/// names that were there.
///
/// # Errors
/// The file cannot be read or written; it is as it was then.
pub fn change(path: &Path, put: &[User], remove: &[String]) -> io::Result<Vec<String>> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // The file itself is replaced, so it is the directory that two who change it at a time wait for.
    let directory = File::open(directory)?;
    directory.lock()?;
    let before = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let mut found = Vec::new();
    let mut lines = Vec::new();
    for line in before.lines() {
        let name = line.trim().split(':').next().unwrap_or_default();
        if let Some(user) = put.iter().find(|user| user.name == name) {
            found.push(name.to_owned());
            lines.push(line_of(user));
        } else if remove.iter().any(|gone| gone == name) {
            found.push(name.to_owned());
        } else {
            lines.push(line.to_owned());
        }
    }
    let new = put.iter().filter(|user| !found.contains(&user.name));
    lines.extend(new.map(line_of));
    let mut after = lines.join("\n");
    if !after.is_empty() {
        after.push('\n');
    }
    replace(path, &after)?;
    directory.sync_all()?;
    Ok(found)
}

/// Writes the file whole beside the old one and puts it in its place. It is for its owner only, and that stays who it
/// was.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    // What an interrupted run left is nobody's: we hold the directory.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    if let Ok(old) = fs::metadata(path) {
        let new = file.metadata()?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str =
        "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$vNTeFPbTZ7Wzcq1KHaJLQQ4pcJVAXNxkVUxXhuxYMDg";

    fn user(name: &str, groups: &[&str]) -> User {
        User {
            name: name.to_owned(),
            password: HashedPassword::parse(HASH).expect("a hash"),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..User::default()
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let text = format!("# ours\n\n  a:{HASH}:x, y\nb:{HASH}:\nc:{HASH}\nd::x\n");
        let users = parse(&text).expect("it is correct");
        assert_eq!(
            users[..3],
            [user("a", &["x", "y"]), user("b", &[]), user("c", &[])]
        );
        assert!(users[3].password.is_empty());
        let again: Vec<String> = users.iter().map(line_of).collect();
        assert_eq!(parse(&again.join("\n")), Ok(users));
    }

    #[test]
    fn every_wrong_line_is_told_and_no_password_shown() {
        let text = format!("a:hunter2:x\nb\n:{HASH}:\nc:{HASH}:x:y\nd:{HASH}:x,,y\ne::\ne::\n");
        let problems = parse(&text).expect_err("it is wrong");
        let lines: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 2, 3, 4, 5, 7], "{problems:?}");
        assert!(
            problems[0]
                .1
                .contains("the password of a is no password hash")
        );
        assert!(problems[0].1.contains("ferrymq passwd"));
        assert!(!format!("{problems:?}").contains("hunter2"));
    }

    proptest! {
        /// Whatever stands in a file, it is read or told by line, and what is read can be written.
        #[test]
        fn any_text_is_read_or_refused(text in "([#:,$=a-z é]{0,12}\n|(a|b):\\$argon2id\\$v=19\\$m=8,t=1,p=1\\$c29tZXNhbHQ\\$[A-Z]{0,44}:(x(,y)?)?\n){0,4}") {
            match parse(&text) {
                Ok(users) => {
                    let lines: Vec<String> = users.iter().map(line_of).collect();
                    prop_assert_eq!(parse(&lines.join("\n")), Ok(users));
                }
                Err(problems) => prop_assert!(problems.iter().all(|(line, _)| *line <= text.lines().count())),
            }
        }
    }

    #[test]
    fn changes_leave_every_other_line_and_the_file_to_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("users");
        assert_eq!(
            change(&path, &[user("a", &["x"])], &[]).expect("written"),
            [""; 0]
        );
        let mode = fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, format!("# who\na:{HASH}:x\nb:{HASH}:\n")).expect("written");
        let found = change(
            &path,
            &[user("a", &["y"]), user("c", &[])],
            &["b".to_owned()],
        );
        assert_eq!(found.expect("written"), ["a", "b"]);
        let text = fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("# who\na:{HASH}:y\nc:{HASH}:\n"));
        assert_eq!(
            fs::metadata(&path).expect("it is there").mode() & 0o777,
            0o600
        );
        let left = fs::read_dir(directory.path()).expect("listed").count();
        assert_eq!(left, 1, "nothing is left over");
    }
}
