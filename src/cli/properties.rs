//! ActiveMQ's `users.properties` (`name=password`) and `groups.properties` (`group=name,name`), as users of ours.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use ferrymq::config::{User, is_name};
use ferrymq::security::Password;

/// Reads users, and their groups if there is a file of them; hashes the passwords.
///
/// # Errors
/// A file cannot be read, or a line of it cannot be taken over; the line is named.
pub(super) fn users(users: &Path, groups: Option<&Path>) -> anyhow::Result<Vec<User>> {
    let mut found: Vec<User> = Vec::new();
    for (line, name, password) in properties(users)? {
        let place = format!("{}:{line}", users.display());
        ensure!(
            is_name(&name),
            "{place}: {name:?} cannot be the name of a user"
        );
        ensure!(
            !(password.starts_with("ENC(") && password.ends_with(')')),
            "{place}: the password of {name} is encrypted; decrypt it first, or leave it out and use `ferrymq passwd`"
        );
        ensure!(
            !password.is_empty(),
            "{place}: the password of {name} is empty"
        );
        let hash = Password::new(password).hash();
        let password = hash.map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
        // The last one counts, as in Java.
        found.retain(|known| known.name != name);
        found.push(User {
            name,
            password,
            ..User::default()
        });
    }
    if let Some(path) = groups {
        add_groups(&mut found, path)?;
    }
    Ok(found)
}

fn add_groups(users: &mut [User], path: &Path) -> anyhow::Result<()> {
    for (line, group, members) in properties(path)? {
        let place = format!("{}:{line}", path.display());
        ensure!(
            is_name(&group),
            "{place}: {group:?} cannot be the name of a group"
        );
        for member in members.split(',').map(str::trim) {
            match users.iter_mut().find(|user| user.name == member) {
                Some(user) if !user.groups.contains(&group) => user.groups.push(group.clone()),
                Some(_) => {}
                None if member.is_empty() => {}
                None => bail!("{place}: {member} is in the group {group} but is no user"),
            }
        }
    }
    Ok(())
}

/// The properties of a file: line, name and value.
fn properties(path: &Path) -> anyhow::Result<Vec<(usize, String, String)>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut properties = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        // A line with a backslash at its end goes on.
        while (logical.len() - logical.trim_end_matches('\\').len()) % 2 == 1 {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (name, value) = split(&logical);
        properties.push((number, name, value));
    }
    Ok(properties)
}

/// Name and value of a line, with escapes resolved: the first `=`, `:` or blank that no backslash precedes parts them.
fn split(line: &str) -> (String, String) {
    let mut name = String::new();
    let mut letters = line.chars();
    let mut parted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => name.extend(escaped(&mut letters)),
            '=' | ':' => {
                parted = true;
                break;
            }
            letter if letter.is_ascii_whitespace() => break,
            letter => name.push(letter),
        }
    }
    let mut rest = letters.as_str().trim_start();
    if !parted {
        rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    }
    let mut value = String::new();
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => value.extend(escaped(&mut letters)),
            letter => value.push(letter),
        }
    }
    (name, value)
}

fn escaped(letters: &mut std::str::Chars<'_>) -> Option<char> {
    match letters.next()? {
        't' => Some('\t'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        'f' => Some('\u{c}'),
        'u' => {
            let code: String = letters.by_ref().take(4).collect();
            u32::from_str_radix(&code, 16).ok().and_then(char::from_u32)
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        file
    }

    #[test]
    fn takes_over_users_with_their_groups() {
        let passwords = file(
            "# ours\nsystem=manager\nuser : pass\\=word\n! no\n\nguest pa\\\n  ss\nsystem=second\n",
        );
        let groups = file("admins=system\nusers=system, user,\n");
        let users = users(passwords.path(), Some(groups.path())).expect("taken over");
        let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["user", "guest", "system"]);
        for (user, password) in users.iter().zip(["pass=word", "pass", "second"]) {
            assert!(
                Password::new(password).matches(&user.password),
                "{}",
                user.name
            );
        }
        assert_eq!(users[2].groups, ["admins", "users"]);
        assert_eq!(users[0].groups, ["users"]);
    }

    #[test]
    fn says_which_line_it_cannot_take_over_and_shows_no_password() {
        for (passwords, members, part) in [
            (
                "a=x\nb=ENC(mYRkg+4Q4hua1kvpCCI2hg==)\n",
                "",
                ":2: the password of b is encrypted",
            ),
            ("a,b=secret\n", "", ":1: \"a,b\" cannot be"),
            ("a=\n", "", ":1: the password of a is empty"),
            (
                "a=secret\n",
                "g=a,z\n",
                ":1: z is in the group g but is no user",
            ),
        ] {
            let (passwords, members) = (file(passwords), file(members));
            let refused = users(passwords.path(), Some(members.path())).expect_err("refused");
            let text = format!("{refused:#}");
            assert!(text.contains(part), "{text}");
            assert!(
                !text.contains("secret") && !text.contains("mYRkg"),
                "{text}"
            );
        }
    }
}
