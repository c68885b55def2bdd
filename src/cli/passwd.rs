//! `ferrymq passwd`: makes, changes and removes users of a users file, and takes over those of ActiveMQ.
//!
//! A password is asked for without echo, or read from standard input; never taken from the command line, where every
//! process of the machine can see it.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ferrymq::config::{HashedPassword, Sources, User, is_name, load};
use ferrymq::security::{Password, users_file};

use super::properties;

pub(super) const EXAMPLES: &str = "\
Examples:
  ferrymq passwd --file users --groups admins,readers alice
  printf %s \"$SECRET\" | ferrymq passwd --file users --stdin orders
  ferrymq passwd --file users --delete alice
  ferrymq passwd --print alice                       print a hash for [[security.user]]
  ferrymq passwd --file users --import conf/users.properties --import-groups conf/groups.properties";

/// The file that names the users file if no other is named.
const USUAL_FILE: &str = "activemq.toml";

// No doc comment here: clap would take it for the help of the subcommand.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The user
    #[arg(required_unless_present = "import", conflicts_with = "import")]
    name: Option<String>,
    /// The users file [default: security.users_file of ./activemq.toml]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The user's groups, separated by commas; without it they stay as they are
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', conflicts_with_all = ["delete", "import"])]
    groups: Option<Vec<String>>,
    /// Remove the user
    #[arg(long, conflicts_with_all = ["import", "stdin", "print"])]
    delete: bool,
    /// Read the password from standard input, a line end behind it left out
    #[arg(long, conflicts_with = "import")]
    stdin: bool,
    /// Print the hash instead of writing a file, to stand in a [[security.user]]
    #[arg(long, conflicts_with_all = ["file", "groups", "import"])]
    print: bool,
    /// Take over the users of ActiveMQ's users.properties, passwords hashed
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Their groups, from ActiveMQ's groups.properties
    #[arg(long, value_name = "FILE", requires = "import")]
    import_groups: Option<PathBuf>,
}

pub(super) fn run(arguments: &Args) -> anyhow::Result<()> {
    if let Some(users) = &arguments.import {
        return import(arguments, users);
    }
    let Some(name) = &arguments.name else {
        bail!("no user named");
    };
    ensure!(
        is_name(name),
        "{name:?} cannot be the name of a user: no ':', ',' or control characters, no '#' in front"
    );
    if arguments.delete {
        return delete(&file(arguments)?, name);
    }
    for group in arguments.groups.iter().flatten() {
        ensure!(is_name(group), "{group:?} cannot be the name of a group");
    }
    if arguments.print {
        writeln!(
            io::stdout(),
            "{}",
            password(name, arguments.stdin)?.reveal()
        )?;
        return Ok(());
    }
    let file = file(arguments)?;
    let known = known(&file)?;
    let groups = known.iter().find(|user| user.name == *name);
    let groups = groups.map(|user| user.groups.clone()).unwrap_or_default();
    let user = User {
        name: name.clone(),
        password: password(name, arguments.stdin)?,
        groups: arguments.groups.clone().unwrap_or(groups),
        ..User::default()
    };
    let there = write(&file, &[user], &[])?;
    let what = if there.is_empty() {
        "new user"
    } else {
        "changed user"
    };
    writeln!(io::stdout(), "{}: {what} {name}", file.display())?;
    Ok(())
}

fn delete(file: &Path, name: &str) -> anyhow::Result<()> {
    known(file)?;
    let there = write(file, &[], &[name.to_owned()])?;
    ensure!(
        !there.is_empty(),
        "{}: there is no user {name}",
        file.display()
    );
    writeln!(io::stdout(), "{}: removed user {name}", file.display())?;
    Ok(())
}

fn import(arguments: &Args, users: &Path) -> anyhow::Result<()> {
    let file = file(arguments)?;
    known(&file)?;
    let imported = properties::users(users, arguments.import_groups.as_deref())?;
    let there = write(&file, &imported, &[])?;
    let (all, changed) = (imported.len(), there.len());
    writeln!(
        io::stdout(),
        "{}: {} new users, {changed} changed",
        file.display(),
        all - changed
    )?;
    Ok(())
}

/// The users file that is meant.
fn file(arguments: &Args) -> anyhow::Result<PathBuf> {
    if let Some(file) = &arguments.file {
        return Ok(file.clone());
    }
    if Path::new(USUAL_FILE).exists() {
        let config = load::load(&Sources::file(USUAL_FILE).with_environment())?.config;
        if !config.security.users_file.is_empty() {
            return Ok(config.security.users_file.into());
        }
    }
    bail!("no users file: give --file, or name one as security.users_file in ./{USUAL_FILE}")
}

/// The users there are, so that a damaged file is not built upon.
fn known(file: &Path) -> anyhow::Result<Vec<User>> {
    if file.exists() {
        Ok(users_file::read(file)?)
    } else {
        Ok(Vec::new())
    }
}

fn write(file: &Path, put: &[User], remove: &[String]) -> anyhow::Result<Vec<String>> {
    users_file::change(file, put, remove)
        .with_context(|| format!("cannot change {}", file.display()))
}

/// Gets the password and hashes it.
fn password(name: &str, from_stdin: bool) -> anyhow::Result<HashedPassword> {
    let password = if from_stdin {
        let mut text = String::new();
        io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the password from standard input")?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        text.strip_suffix('\r').unwrap_or(text).to_owned()
    } else {
        ensure!(
            io::stdin().is_terminal(),
            "standard input is no terminal: use --stdin to read the password from it"
        );
        let first = rpassword::prompt_password(format!("Password of {name}: "))?;
        let again = rpassword::prompt_password("Once more: ")?;
        ensure!(first == again, "the two passwords differ");
        first
    };
    ensure!(!password.is_empty(), "an empty password is no password");
    ensure!(
        !password.contains(['\n', '\r', '\0']),
        "a password is one line, which clients can send"
    );
    Password::new(password).hash().map_err(anyhow::Error::msg)
}
