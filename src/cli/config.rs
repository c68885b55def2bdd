//! `ferrymq config show`: the configuration as it takes effect, each value with where it comes from.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, Subcommand};
use ferrymq::broker::Pattern;
use ferrymq::broker::policy::Scope;
use ferrymq::config::load::Loaded;
use ferrymq::config::schema::Section;
use ferrymq::config::{Config, Origin, Sources, load};

use super::serve::USUAL_FILE;

pub(super) const EXAMPLES: &str = "\
Examples:
  ferrymq config show                           every key of ./activemq.toml and the environment, with its origin
  ferrymq config show /queue/orders.eu          the policy of one destination
  ferrymq config show --config /etc/ferrymq/activemq.toml topic://news";

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration, or the policy of a destination, each value with where it comes from
    #[command(after_help = EXAMPLES)]
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The configuration file [default: ./activemq.toml if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A destination such as /queue/a, topic://b or a (a queue); its policy is shown instead
    destination: Option<String>,
}

pub(super) fn run(arguments: &ConfigArgs) -> anyhow::Result<()> {
    let ConfigCommand::Show(arguments) = &arguments.command;
    let usual = Path::new(USUAL_FILE);
    let file = arguments.config.clone();
    let sources = Sources {
        file: file.or_else(|| usual.exists().then(|| usual.to_owned())),
        ..Sources::default()
    };
    let loaded = load::load(&sources.with_environment())?;
    let lines = match &arguments.destination {
        None => whole(&loaded),
        Some(text) => policy(&loaded, text)?,
    };
    let width = lines.iter().map(|(line, _)| line.chars().count()).max();
    let width = width.unwrap_or(0).min(WIDTH_MAX);
    let mut out = io::stdout().lock();
    for (line, origin) in lines {
        if origin.is_empty() {
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{line:width$}  # {origin}")?;
        }
    }
    Ok(())
}

/// A line that is longer pushes its origin to the right, instead of all of them.
const WIDTH_MAX: usize = 72;

/// A line and where its value comes from.
type Line = (String, String);

fn whole(loaded: &Loaded) -> Vec<Line> {
    let mut lines = Vec::new();
    for section in Config::sections() {
        lines.push((format!("[{}]", section.name), String::new()));
        for key in section.keys {
            let value = loaded.config.to_toml(section.name, key.name);
            let origin = loaded.origin(section.name, key.name).to_string();
            lines.push((
                format!("{} = {}", key.name, value.unwrap_or_default()),
                origin,
            ));
        }
        lines.push(Line::default());
    }
    lines.extend(tables(loaded, &loaded.config.virtual_topic));
    lines.extend(tables(loaded, &loaded.config.composite));
    for entry in &loaded.config.policy {
        lines.push(("[[policy]]".to_owned(), entry.origin().to_string()));
        lines.push((entry.to_string(), String::new()));
        if entry.inherits() {
            lines.push(("inherit = true".to_owned(), String::new()));
        }
        let settings = entry.settings();
        lines.extend(
            settings.map(|(key, value, origin)| (format!("{key} = {value}"), origin.to_string())),
        );
        lines.push(Line::default());
    }
    lines
}

/// The entries of a list, each key of them.
fn tables<S: Section>(loaded: &Loaded, entries: &[S]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        lines.push((format!("[[{}]]", S::NAME), String::new()));
        for key in S::keys() {
            let value = entry.to_toml(key.name).unwrap_or_default();
            let origin = match loaded.origin(&format!("{}[{}]", S::NAME, index + 1), key.name) {
                Origin::File { .. } if value == key.default => Origin::Default,
                origin => origin,
            };
            lines.push((format!("{} = {value}", key.name), origin.to_string()));
        }
        lines.push(Line::default());
    }
    lines
}

fn policy(loaded: &Loaded, text: &str) -> anyhow::Result<Vec<Line>> {
    let (scope, name) = destination(text);
    let config = &loaded.config;
    match Pattern::parse_with(name, config.pattern_syntax()) {
        Ok(pattern) if !pattern.is_wildcard() => {}
        Ok(_) => bail!("{text} is a pattern; name one destination"),
        Err(error) => bail!("{text} is no destination: {error}"),
    }
    let policies = config.policies();
    let chain = policies.chain(scope, name);
    let chain = chain.iter().map(|entry| {
        format!(
            "policy {} ({})",
            entry.number,
            config.policy[entry.number - 1]
        )
    });
    let chain: Vec<String> = chain.chain(["the defaults".to_owned()]).collect();
    let mut lines = vec![(
        format!("# {text}: {}", chain.join(", over ")),
        String::new(),
    )];
    for value in config.effective_policy(scope, name) {
        let origin = match (value.entry, value.section_key) {
            (Some(number), _) => format!("policy {number}, {}", value.origin),
            (None, None) => Origin::Default.to_string(),
            (None, Some((section, key))) => match loaded.origin(section, key) {
                Origin::Default => Origin::Default.to_string(),
                origin => format!("{section}.{key}, {origin}"),
            },
        };
        lines.push((format!("{} = {}", value.key, value.value), origin));
    }
    Ok(lines)
}

/// Reads a destination as clients write it; without a known prefix it is a queue.
fn destination(text: &str) -> (Scope, &str) {
    let prefixes = [
        ("/queue/", Scope::Queue),
        ("queue://", Scope::Queue),
        ("/topic/", Scope::Topic),
        ("topic://", Scope::Topic),
        ("/temp-queue/", Scope::TempQueue),
        ("temp-queue://", Scope::TempQueue),
        ("/temp-topic/", Scope::TempTopic),
        ("temp-topic://", Scope::TempTopic),
    ];
    let found = prefixes
        .iter()
        .find_map(|(prefix, scope)| Some((*scope, text.strip_prefix(prefix)?)));
    found.unwrap_or((Scope::Queue, text))
}
