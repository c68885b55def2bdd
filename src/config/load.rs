//! Defaults, file, environment, flags: each layer over the one before, and every problem of every layer reported.
//!
//! The file is walked with its positions against the schema instead of being handed to serde, because serde stops at
//! the first problem and forgets where the others stand.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::check::{Origin, Problem, Problems, nearest, rules};
use super::compat;
use super::leaf::Literal;
use super::policy;
use super::schema::{Section, SectionInfo, Written};
use super::{Composite, Config, VirtualTopic};

mod lists;

pub(super) use lists::entry_path;

/// What every variable begins with: `FERRYMQ__STOMP__LISTEN` is `stomp.listen`.
pub const ENVIRONMENT_PREFIX: &str = "FERRYMQ__";

/// Where values may come from, weakest first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The environment; what does not begin with [`ENVIRONMENT_PREFIX`] is passed over.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags of the command line.
    pub flags: Vec<Flag>,
}

/// A flag of the command line that sets a key.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The flag as people type it, `--stomp`.
    pub name: &'static str,
    /// The section of the key.
    pub section: &'static str,
    /// The key within the section.
    pub key: &'static str,
    /// The value.
    pub value: String,
}

impl Sources {
    /// Nothing but a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(path.into()),
            ..Self::default()
        }
    }

    /// Adds the environment of this process.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        self.environment = std::env::vars_os().collect();
        self
    }
}

/// A configuration that passed every check, and where its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: HashMap<String, Origin>,
}

impl Loaded {
    /// Where the value of a key came from.
    #[must_use]
    pub fn origin(&self, section: &str, key: &str) -> Origin {
        place_of(&self.origins, &format!("{section}.{key}"))
    }
}

/// Where the value of a key came from; of a key that an entry of a list leaves out, where the entry stands.
fn place_of(origins: &HashMap<String, Origin>, path: &str) -> Origin {
    let entry = || {
        path.rsplit_once('.')
            .and_then(|(entry, _)| origins.get(entry))
    };
    let found = origins.get(path).or_else(entry);
    found.cloned().unwrap_or(Origin::Default)
}

/// Loads the configuration.
///
/// # Errors
/// All problems of all sources, those of the file first and in the order of its lines.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loader = Loader::new();
    if let Some(path) = &sources.file {
        loader.file(path);
    }
    loader.environment(&sources.environment);
    loader.flags(&sources.flags);
    loader.finish()
}

struct Loader {
    sections: Vec<SectionInfo>,
    config: Config,
    origins: HashMap<String, Origin>,
    refused: HashSet<String>,
    problems: Vec<Problem>,
}

impl Loader {
    fn new() -> Self {
        Self {
            sections: Config::sections(),
            config: Config::default(),
            origins: HashMap::new(),
            refused: HashSet::new(),
            problems: Vec::new(),
        }
    }

    fn file(&mut self, path: &Path) {
        match fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => {
                let origin = Origin::at(path, "", 0);
                self.problem(
                    origin,
                    String::new(),
                    format!("cannot be read: {error}"),
                    None,
                );
            }
        }
    }

    fn text(&mut self, path: &Path, text: &str) {
        let (document, syntax_errors) = DeTable::parse_recoverable(text);
        for error in &syntax_errors {
            let offset = error.span().map_or(text.len(), |span| span.start);
            self.problem(
                Origin::at(path, text, offset),
                String::new(),
                error.message().to_owned(),
                None,
            );
        }
        // What the parser made of a broken line may be wrong in ways its author never wrote.
        let broken: HashSet<usize> = self
            .problems
            .iter()
            .filter_map(|problem| line_of(&problem.origin))
            .collect();

        let at = |offset| Origin::at(path, text, offset);
        for (name, value) in document.get_ref() {
            let name_origin = at(name.span().start);
            if line_of(&name_origin).is_some_and(|line| broken.contains(&line)) {
                continue;
            }
            let section = name.get_ref().as_ref();
            if section == policy::PREFIX {
                self.config.policy = policy::read_all(value, &at, &mut self.problems);
                continue;
            }
            match section {
                VirtualTopic::NAME => {
                    self.config.virtual_topic = self.tables(value, &at, &broken);
                    continue;
                }
                Composite::NAME => {
                    self.config.composite = self.tables(value, &at, &broken);
                    continue;
                }
                _ => {}
            }
            if !self.sections.iter().any(|known| known.name == section) {
                self.unknown_section(name_origin, section);
                continue;
            }
            let DeValue::Table(table) = value.get_ref() else {
                let text = format!(
                    "expected a table, written [{section}], found {}",
                    Literal::of(value)
                );
                self.problem(at(value.span().start), section.to_owned(), text, None);
                continue;
            };
            for (key, value) in table {
                let (key_origin, value_origin) = (at(key.span().start), at(value.span().start));
                if line_of(&key_origin).is_some_and(|line| broken.contains(&line)) {
                    continue;
                }
                if self.list(section, key.get_ref()).is_some() {
                    self.entries(section, key.get_ref(), value, &at, &broken);
                    continue;
                }
                let written = Written::Typed(Literal::of(value));
                self.set(section, key.get_ref(), written, key_origin, value_origin);
            }
        }
        self.problems.sort_by_key(|problem| match problem.origin {
            Origin::File { line, column, .. } => (line, column),
            _ => (usize::MAX, 0),
        });
    }

    fn environment(&mut self, variables: &[(OsString, OsString)]) {
        let mut variables: Vec<_> = variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value)))
            .filter_map(|(name, value)| Some((name, name.strip_prefix(ENVIRONMENT_PREFIX)?, value)))
            .collect();
        variables.sort_unstable();
        for (name, path, value) in variables {
            let origin = Origin::Environment(name.to_owned());
            let path = path.to_ascii_lowercase();
            let Some((section, key)) = path.split_once("__") else {
                let text = format!("is no key; write {ENVIRONMENT_PREFIX}SECTION__KEY");
                self.problem(origin, String::new(), text, None);
                continue;
            };
            if [policy::PREFIX, VirtualTopic::NAME, Composite::NAME].contains(&section) {
                let text = format!("entries stand in the file, each written [[{section}]]");
                self.problem(origin, String::new(), text, None);
                continue;
            }
            let Some(value) = value.to_str() else {
                self.problem(
                    origin,
                    format!("{section}.{key}"),
                    "is not UTF-8".to_owned(),
                    None,
                );
                continue;
            };
            if !self.sections.iter().any(|known| known.name == section) {
                self.unknown_section(origin, section);
                continue;
            }
            self.set(
                section,
                key,
                Written::Untyped(value),
                origin.clone(),
                origin,
            );
        }
    }

    fn flags(&mut self, flags: &[Flag]) {
        for flag in flags {
            let origin = Origin::Flag(flag.name.to_owned());
            self.set(
                flag.section,
                flag.key,
                Written::Untyped(&flag.value),
                origin.clone(),
                origin,
            );
        }
    }

    /// Sets one key of a section that is known to exist.
    fn set(
        &mut self,
        section: &str,
        key: &str,
        written: Written<'_>,
        key_origin: Origin,
        value_origin: Origin,
    ) {
        let path = format!("{section}.{key}");
        match self.config.set(section, key, written) {
            Some(Ok(())) => {
                self.origins.insert(path, value_origin);
            }
            Some(Err(text)) => {
                self.refused.insert(path.clone());
                self.problem(value_origin, path, text, None);
            }
            None if self.list(section, key).is_some() => {
                let text = format!("stands in the file only, each entry written [[{path}]]");
                self.problem(key_origin, path, text, None);
            }
            None => {
                let suggestion = self
                    .key_near(section, key)
                    .map(|near| spelled(&key_origin, &near));
                self.problem(key_origin, path, "unknown key".to_owned(), suggestion);
            }
        }
    }

    /// The key that was meant: a near one of the section, or else one of that very name elsewhere.
    fn key_near(&self, section: &str, key: &str) -> Option<String> {
        let own = self.sections.iter().find(|known| known.name == section)?;
        match nearest(key, own.keys.iter().map(|known| known.name)) {
            Some(near) => Some(format!("{section}.{near}")),
            None => self.key_named(key),
        }
    }

    fn key_named(&self, key: &str) -> Option<String> {
        let holds = |section: &&SectionInfo| section.keys.iter().any(|known| known.name == key);
        self.sections
            .iter()
            .find(holds)
            .map(|section| format!("{}.{key}", section.name))
    }

    fn unknown_section(&mut self, origin: Origin, name: &str) {
        let near = nearest(name, self.sections.iter().map(|known| known.name)).map(str::to_owned);
        let suggestion = near
            .or_else(|| self.key_named(name))
            .map(|near| spelled(&origin, &near));
        self.problem(
            origin,
            name.to_owned(),
            "unknown section".to_owned(),
            suggestion,
        );
    }

    fn problem(&mut self, origin: Origin, key: String, text: String, suggestion: Option<String>) {
        self.problems.push(Problem {
            origin,
            key,
            text,
            suggestion,
        });
    }

    fn finish(mut self) -> Result<Loaded, Problems> {
        for (section, key) in
            compat::apply(&mut self.config, |path| self.origins.contains_key(path))
        {
            let origin = Origin::Profile(compat::ACTIVEMQ);
            self.origins.insert(format!("{section}.{key}"), origin);
        }
        let origin = |key: &str| place_of(&self.origins, key);
        self.problems
            .extend(rules(&self.config, &self.refused, &origin));
        if self.problems.is_empty() {
            Ok(Loaded {
                config: self.config,
                origins: self.origins,
            })
        } else {
            Err(Problems(self.problems))
        }
    }
}

/// A key as one writes it where the mistake was made.
fn spelled(origin: &Origin, path: &str) -> String {
    match origin {
        Origin::Environment(_) => {
            let path = path.replace('.', "__").to_ascii_uppercase();
            let open = if path.contains("__") { "" } else { "__…" };
            format!("{ENVIRONMENT_PREFIX}{path}{open}")
        }
        _ => path.to_owned(),
    }
}

fn line_of(origin: &Origin) -> Option<usize> {
    match origin {
        Origin::File { line, .. } => Some(*line),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a file of this text, with these variables and flags; gives the problems without the directory.
    fn problems(text: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Vec<String> {
        match load_text(text, variables, flags) {
            Ok(_) => Vec::new(),
            Err((directory, problems)) => problems
                .0
                .iter()
                .map(|problem| problem.to_string().replace(&directory, ""))
                .collect(),
        }
    }

    fn load_text(
        text: &str,
        variables: &[(&str, &str)],
        flags: &[Flag],
    ) -> Result<Loaded, (String, Problems)> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("f.toml");
        fs::write(&path, text).expect("a file");
        let sources = Sources {
            file: Some(path),
            environment: variables
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            flags: flags.to_vec(),
        };
        load(&sources).map_err(|problems| (format!("{}/", directory.path().display()), problems))
    }

    fn stomp_flag(value: &str) -> Flag {
        Flag {
            name: "--stomp",
            section: "stomp",
            key: "listen",
            value: value.to_owned(),
        }
    }

    #[test]
    fn all_problems_of_all_sources_are_reported_at_once() {
        let file = r#"
name = "x"
[stomp]
listen = 61613
connectTimeout = "30s"
heart_beat_grace = 0.5
headers_max = 99999999999999999999
data_dir = "elsewhere"
[memry]
limit = "1 GiB"
[store]
segment_bytes = "1 KiB"
"#;
        let variables = [
            ("FERRYMQ__X__Y", "1"),
            ("FERRYMQ__STOMP__HEADER_MAX", "1"),
            ("FERRYMQ__LOG", "debug"),
        ];
        assert_eq!(
            problems(file, &variables, &[stomp_flag("here")]),
            [
                "f.toml:2:1: name: unknown section; did you mean `broker.name`?",
                "f.toml:4:10: stomp.listen: expected a numeric address and port such as \"127.0.0.1:61613\", found \
                 61613",
                "f.toml:5:1: stomp.connectTimeout: unknown key; did you mean `stomp.connect_timeout`?",
                "f.toml:6:20: stomp.heart_beat_grace: must be from 1 to 100, found 0.5",
                "f.toml:7:15: stomp.headers_max: expected a whole number from 0 to 4294967295, found a number that is \
                 too large",
                "f.toml:8:1: stomp.data_dir: unknown key; did you mean `broker.data_dir`?",
                "f.toml:9:2: memry: unknown section; did you mean `memory`?",
                "f.toml:12:17: store.segment_bytes: must be from 64 KiB to 1 GiB, found \"1 KiB\"",
                "environment FERRYMQ__LOG: is no key; write FERRYMQ__SECTION__KEY",
                "environment FERRYMQ__STOMP__HEADER_MAX: stomp.header_max: unknown key; did you mean \
                 `FERRYMQ__STOMP__HEADERS_MAX`?",
                "environment FERRYMQ__X__Y: x: unknown section",
                "flag --stomp: stomp.listen: expected a numeric address and port such as \"127.0.0.1:61613\", found \
                 \"here\"",
            ]
        );
    }

    #[test]
    fn syntax_errors_have_a_place_and_do_not_hide_other_problems() {
        let found = problems(
            "[stomp]\nlisten = \nheaders_max = \"x\"\nheaders_max = 1\n[log\nlevel = 3\n",
            &[],
            &[],
        );
        assert!(
            found.iter().any(|problem| problem.starts_with("f.toml:2:")),
            "{found:#?}"
        );
        assert!(
            found
                .iter()
                .any(|problem| problem.starts_with("f.toml:3:15: stomp.headers_max: ")),
            "{found:#?}"
        );
        assert!(
            found.iter().any(|problem| problem.starts_with("f.toml:4:")),
            "{found:#?}"
        );
    }

    #[test]
    fn a_section_that_is_no_table_is_reported() {
        assert_eq!(
            problems("stomp = 3\n[[log]]\nlevel = \"info\"\n", &[], &[]),
            [
                "f.toml:1:9: stomp: expected a table, written [stomp], found 3",
                "f.toml:2:1: log: expected a table, written [log], found an array",
            ]
        );
    }

    #[test]
    fn entries_of_lists_are_read_and_their_problems_have_places() {
        let file = r#"
[[security.user]]
name = "a"
groups = ["x", "y"]
[[security.user]]
nmae = "b"
groups = [1]
[[security.user]]
name = "a"
[security.acl]
queue = "q"
"#;
        assert_eq!(
            problems(file, &[("FERRYMQ__SECURITY__USER", "x")], &[]),
            [
                "f.toml:6:1: security.user[2].nmae: unknown key; did you mean `name`?",
                "f.toml:7:10: security.user[2].groups: expected a string, found 1",
                "f.toml:10:1: security.acl: expected tables, each written [[security.acl]], found a table",
                "environment FERRYMQ__SECURITY__USER: security.user: stands in the file only, each entry written \
                 [[security.user]]",
                "f.toml:5:1: security.user[2].name: must be a name without ':', ',' and control characters, not empty, \
                 no '#' in front",
                "f.toml:9:8: security.user[3].name: there is a user a already",
            ]
        );
        let loaded = load_text(
            "[[security.user]]\nname = \"a\"\ngroups = [\"x\", \"y\"]\n",
            &[],
            &[],
        );
        let loaded = loaded.expect("no problems");
        let user = &loaded.config.security.user[0];
        assert_eq!((user.name.as_str(), user.groups.len()), ("a", 2));
        assert!(matches!(
            loaded.origin("security", "user[1].groups"),
            Origin::File { line: 3, .. }
        ));
    }

    #[test]
    fn each_layer_wins_over_the_one_before() {
        let file =
            "[stomp]\nlisten = \"127.0.0.1:1\"\nheaders_max = 17\n[broker]\nname = \"file\"\n";
        let variables = [
            ("FERRYMQ__STOMP__LISTEN", "127.0.0.1:2"),
            ("FERRYMQ__BROKER__NAME", "variable"),
            ("FERRYMQ__BROKER__EPHEMERAL", "true"),
            ("OTHER", "x"),
        ];
        let loaded =
            load_text(file, &variables, &[stomp_flag("127.0.0.1:3")]).expect("no problems");
        assert_eq!(loaded.config.stomp.listen.port(), 3);
        assert_eq!(loaded.config.stomp.headers_max, 17);
        assert_eq!(loaded.config.broker.name, "variable");
        assert!(loaded.config.broker.ephemeral);
        assert_eq!(
            loaded.origin("stomp", "listen"),
            Origin::Flag("--stomp".to_owned())
        );
        assert_eq!(
            loaded.origin("broker", "name"),
            Origin::Environment("FERRYMQ__BROKER__NAME".to_owned())
        );
        assert!(matches!(
            loaded.origin("stomp", "headers_max"),
            Origin::File {
                line: 3,
                column: 15,
                ..
            }
        ));
        assert_eq!(loaded.origin("log", "level"), Origin::Default);
    }

    /// Spec: behaviour SEC-1.
    #[test]
    fn a_public_address_is_refused_where_it_was_given() {
        let found = problems("[stomp]\nlisten = \"0.0.0.0:61613\"\n", &[], &[]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with(
                "f.toml:2:10: stomp.listen: 0.0.0.0:61613 can be reached from outside"
            )
        );
        assert!(
            found[0].contains("broker.allow_insecure = true"),
            "{found:?}"
        );

        let found = problems("", &[], &[stomp_flag("192.0.2.1:1")]);
        assert!(
            found[0].starts_with("flag --stomp: stomp.listen: 192.0.2.1:1 "),
            "{found:?}"
        );

        let allowed = [("FERRYMQ__BROKER__ALLOW_INSECURE", "true")];
        assert_eq!(
            problems("[stomp]\nlisten = \"0.0.0.0:61613\"\n", &allowed, &[]),
            [""; 0]
        );
        // One mistake, one line: whether it was allowed is not known here.
        let misspelt = [("FERRYMQ__BROKER__ALLOW_INSECURE", "yes")];
        assert_eq!(
            problems("[stomp]\nlisten = \"0.0.0.0:61613\"\n", &misspelt, &[]).len(),
            1
        );
    }

    proptest::proptest! {
        /// Whatever stands in a file, it is loaded or reported with places inside the file.
        #[test]
        fn any_text_is_loaded_or_reported(
            text in proptest::prop_oneof![
                ".{0,80}",
                "(\\[?\\[?(stomp|log|é|x)\\]?\\]?\n|(listen|level|é.x|stomp) ?= ?(\"[a-zé0 %]{0,4}\"?|0x1|9{1,30}|1e999|\\{|\\[1|nan|1979-05-27)\n){0,6}",
            ]
        ) {
            let mut loader = Loader::new();
            loader.text(Path::new("f.toml"), &text);
            let lines = text.matches('\n').count() + 1;
            for problem in loader.finish().err().map(|problems| problems.0).unwrap_or_default() {
                let line = line_of(&problem.origin);
                proptest::prop_assert!(line.is_some_and(|line| line <= lines), "{problem}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem() {
        let found = load(&Sources::file("no/such.toml"))
            .expect_err("no such file")
            .to_string();
        assert!(
            found.contains("no/such.toml") && found.contains("cannot be read"),
            "{found}"
        );
    }
}
