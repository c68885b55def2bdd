//! Toolchains: what a client needs to run, fetched from its registry into `target/clients/` at the pinned version.
//!
//! - A directory per toolchain. A lock beside it keeps other runs of the tests out while it is filled; a stamp, written
//!   last, says what it was filled with, so that half a fetch, or one of other versions, is begun anew.
//! - What cannot be had here (no interpreter, no registry) is `Missing`; a client of ours that does not build is `Broken`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// Why a client cannot run.
#[derive(Clone, Debug)]
pub(crate) enum Unready {
    /// The machine lacks something: the test is ignored, or fails where nothing may be missing.
    Missing(String),
    /// Our side is wrong: the test fails.
    Broken(String),
}

impl Unready {
    fn reason(self) -> String {
        match self {
            Self::Missing(reason) | Self::Broken(reason) => reason,
        }
    }
}

/// What runs the clients of one language.
#[derive(Debug)]
struct Runner {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    /// Where the scripts stand; `None`, if the program is the client.
    scripts: Option<PathBuf>,
    /// What its environment has to say.
    environment: Vec<(&'static str, PathBuf)>,
}

/// A runner that is prepared when it is first asked for.
pub(crate) struct Toolchain(LazyLock<Result<Runner, Unready>>);

pub(crate) static PYTHON: Toolchain = Toolchain(LazyLock::new(python));
pub(crate) static NODE: Toolchain = Toolchain(LazyLock::new(node));
pub(crate) static CHROMIUM: Toolchain = Toolchain(LazyLock::new(chromium));
pub(crate) static GO: Toolchain = Toolchain(LazyLock::new(go));
pub(crate) static RUBY: Toolchain = Toolchain(LazyLock::new(ruby));
pub(crate) static PERL: Toolchain = Toolchain(LazyLock::new(perl));
pub(crate) static JAVA: Toolchain = Toolchain(LazyLock::new(java));
pub(crate) static JAVA_OPENWIRE: Toolchain = Toolchain(LazyLock::new(java_openwire));

impl Toolchain {
    /// The command that runs the client `script`.
    pub(crate) fn command(&self, script: &str) -> Result<Command, Unready> {
        let runner = self.0.as_ref().map_err(Clone::clone)?;
        let mut command = Command::new(&runner.program);
        command
            .args(&runner.arguments)
            .envs(runner.environment.iter().cloned());
        if let Some(scripts) = &runner.scripts {
            command.arg(scripts.join(script));
        }
        Ok(command)
    }
}

/// `stomp.py` in a virtual environment.
fn python() -> Result<Runner, Unready> {
    let version = run(Command::new("python3").args(["-c", "import sys; print(sys.version)"]))?;
    let requirements = source("python").join("requirements.txt");
    let home = Home::locked("python")?;
    let interpreter = home.path.join("bin/python");
    home.fill(&(version + &text(&requirements)?), || {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&home.path))?;
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--no-deps",
            "--requirement",
        ];
        run(Command::new(&interpreter).args(install).arg(&requirements))
    })?;
    Ok(runner(interpreter, &[], Some(source("python"))))
}

/// `@stomp/stompjs` and `stompit`, with our scripts beside them, because Node looks for packages above a script.
fn node() -> Result<Runner, Unready> {
    let version = run(Command::new("node").arg("--version"))?;
    let home = Home::locked("node")?;
    let lock = text(&source("node").join("package-lock.json"))?;
    home.fill(&(version + &lock), || {
        for name in ["package.json", "package-lock.json"] {
            copy(&source("node").join(name), &home.path.join(name))?;
        }
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(Command::new("npm").args(install).current_dir(&home.path))
    })?;
    let scripts = fs::read_dir(source("node")).map_err(broken)?;
    for script in scripts {
        let script = script.map_err(broken)?.path();
        if ["mjs", "html"]
            .map(OsStr::new)
            .map(Some)
            .contains(&script.extension())
        {
            copy(
                &script,
                &home
                    .path
                    .join(script.file_name().expect("a file has a name")),
            )?;
        }
    }
    Ok(runner("node", &[], Some(home.path)))
}

/// Node, with a script that drives the browser.
fn chromium() -> Result<Runner, Unready> {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| run(Command::new(name).arg("--version")).is_ok())
        .ok_or_else(|| Unready::Missing("no chromium".to_owned()))?;
    let found = run(Command::new("sh").args(["-c", &format!("command -v {browser}")]))?;
    let mut runner = node()?;
    runner.environment.push(("CHROMIUM", found.trim().into()));
    Ok(runner)
}

/// One program with `go-stomp` in it.
fn go() -> Result<Runner, Unready> {
    run(Command::new("go").arg("version"))?;
    let home = Home::locked("go")?;
    let program = home.path.join("client");
    let go = |arguments: &[&str]| {
        let mut command = Command::new("go");
        command
            .args(arguments)
            .current_dir(source("go"))
            .env("GOMODCACHE", home.path.join("mod"))
            // So that it can be deleted like everything in target; and the version that is here has to do.
            .env("GOFLAGS", "-modcacherw")
            .env("GOTOOLCHAIN", "local");
        command
    };
    home.fill(&text(&source("go").join("go.sum"))?, || {
        run(&mut go(&["mod", "download"]))
    })?;
    // Go knows by itself whether there is anything to do.
    let mut build = go(&["build", "-mod=readonly", "-buildvcs=false", "-o"]);
    run(build.arg(&program).arg(".")).map_err(|error| Unready::Broken(error.reason()))?;
    Ok(runner(program, &[], None))
}

/// The `stomp` gem: the one that Ruby finds already, or else from the gems' registry, or else Debian's package of it.
fn ruby() -> Result<Runner, Unready> {
    let version = run(Command::new("ruby").arg("--version"))?;
    let load = format!("require 'stomp'; exit Stomp::Version::STRING == '{GEM_VERSION}'");
    let has_stomp = |ruby: &mut Command| run(ruby.args(["-e", &load])).is_ok();
    if has_stomp(&mut Command::new("ruby")) {
        return Ok(runner("ruby", &[], Some(source("ruby"))));
    }
    let home = Home::locked("ruby")?;
    let library = home.path.join("lib");
    home.fill(&(version + GEM_VERSION), || {
        let gem = run(Command::new("gem")
            .args([
                "install",
                "stomp",
                "--no-document",
                "--version",
                GEM_VERSION,
                "--install-dir",
            ])
            .arg(home.path.join("gems")));
        let found = match gem {
            Ok(_) => home.path.join(format!("gems/gems/stomp-{GEM_VERSION}/lib")),
            Err(no_gem) => debian_gem(&home.path).map_err(|no_package| {
                let (no_gem, no_package) = (no_gem.reason(), no_package.reason());
                Unready::Missing(format!(
                    "no stomp gem: {no_gem}\nand no package of it: {no_package}"
                ))
            })?,
        };
        fs::rename(found, &library).map_err(broken)?;
        Ok(String::new())
    })?;
    if !has_stomp(Command::new("ruby").arg("-I").arg(&library)) {
        return Err(Unready::Broken(format!(
            "no stomp gem in {}",
            library.display()
        )));
    }
    Ok(runner(
        "ruby",
        &[Path::new("-I"), &library],
        Some(source("ruby")),
    ))
}

/// `Net::Stomp`, as Perl finds it: Debian's `libnet-stomp-perl`.
fn perl() -> Result<Runner, Unready> {
    let modules = ["-MNet::Stomp", "-MIO::Socket::SSL", "-MJSON::PP", "-e", ""];
    run(Command::new("perl").args(modules))?;
    Ok(runner("perl", &[], Some(source("perl"))))
}

/// JORAM's JMS suite over FuseSource's JMS client for STOMP, and Spring's client; the script is the class to run.
fn java() -> Result<Runner, Unready> {
    maven("java", &JAVA_FILES)
}

/// ActiveMQ's own client, which needs another version of the interfaces of JMS than the others.
fn java_openwire() -> Result<Runner, Unready> {
    maven("java-openwire", &JAVA_OPENWIRE_FILES)
}

/// The classes of a project in `directory` that is made of `files`.
fn maven(directory: &str, files: &[&str]) -> Result<Runner, Unready> {
    let version = run(Command::new("mvn").arg("--version"))?;
    let home = Home::locked(directory)?;
    let source = source(directory);
    let sources = files
        .iter()
        .map(|file| text(&source.join(file)))
        .collect::<Result<String, Unready>>()?;
    home.fill(&(version + &sources), || {
        let mut maven = Command::new("mvn");
        maven
            .args(["--quiet", "--batch-mode", "--file"])
            .arg(source.join("pom.xml"))
            .arg(format!(
                "-Dmaven.repo.local={}",
                home.path.join("repository").display()
            ))
            .arg(format!(
                "-DbuildDirectory={}",
                home.path.join("build").display()
            ))
            .arg(format!(
                "-DoutputDirectory={}",
                home.path.join("lib").display()
            ))
            .args(["package", "dependency:copy-dependencies"]);
        run(&mut maven)
    })?;
    let (classes, libraries) = (home.path.join("build/classes"), home.path.join("lib/*"));
    let path = format!("{}:{}", classes.display(), libraries.display());
    Ok(runner(
        "java",
        &[Path::new("-cp"), Path::new(&path)],
        Some(PathBuf::new()),
    ))
}

const JAVA_OPENWIRE_FILES: [&str; 2] = ["pom.xml", "src/main/java/ferrymq/OpenWire.java"];

const JAVA_FILES: [&str; 6] = [
    "pom.xml",
    "src/main/resources/provider.properties",
    "src/main/java/ferrymq/Conformance.java",
    "src/main/java/ferrymq/Json.java",
    "src/main/java/ferrymq/Spring.java",
    "src/main/java/ferrymq/StompAdmin.java",
];

const GEM_VERSION: &str = "1.4.10";

/// Unpacks Debian's package without installing it, which needs no rights.
fn debian_gem(home: &Path) -> Result<PathBuf, Unready> {
    run(Command::new("apt-get")
        .args(["download", "-qq", "ruby-stomp"])
        .current_dir(home))?;
    let mut files = fs::read_dir(home).map_err(broken)?.filter_map(Result::ok);
    let package = files.find(|file| file.path().extension() == Some(OsStr::new("deb")));
    let Some(package) = package else {
        return Err(Unready::Missing("apt-get downloaded nothing".to_owned()));
    };
    let unpacked = home.join("package");
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(package.path())
        .arg(&unpacked))?;
    Ok(unpacked.join("usr/lib/ruby/vendor_ruby"))
}

fn runner(program: impl Into<PathBuf>, arguments: &[&Path], scripts: Option<PathBuf>) -> Runner {
    Runner {
        program: program.into(),
        arguments: arguments.iter().map(PathBuf::from).collect(),
        scripts,
        environment: Vec::new(),
    }
}

/// The directory of one toolchain, ours alone until this goes.
struct Home {
    path: PathBuf,
    _lock: File,
}

impl Home {
    fn locked(name: &str) -> Result<Self, Unready> {
        let path = home(name);
        fs::create_dir_all(path.parent().expect("it is below target")).map_err(broken)?;
        let lock = File::create(path.with_extension("lock")).map_err(broken)?;
        lock.lock().map_err(broken)?;
        Ok(Self { path, _lock: lock })
    }

    /// Fills the directory by `fetch` unless that was done for the same `stamp`.
    fn fill(
        &self,
        stamp: &str,
        fetch: impl FnOnce() -> Result<String, Unready>,
    ) -> Result<(), Unready> {
        let mark = self.path.join("filled-with");
        if fs::read_to_string(&mark).is_ok_and(|filled| filled == stamp) {
            return Ok(());
        }
        if self.path.exists() {
            fs::remove_dir_all(&self.path).map_err(broken)?;
        }
        fs::create_dir_all(&self.path).map_err(broken)?;
        fetch()?;
        fs::write(mark, stamp).map_err(broken)
    }
}

/// Where a toolchain has what was fetched for it.
pub(crate) fn home(name: &str) -> PathBuf {
    let clients = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("clients");
    clients.join(name)
}

/// Where the client programs of a language stand.
fn source(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(language)
}

fn text(path: &Path) -> Result<String, Unready> {
    fs::read_to_string(path).map_err(broken)
}

/// Copies in one step, because a client of another run may be about to read `to`.
fn copy(from: &Path, to: &Path) -> Result<(), Unready> {
    let unfinished = to.with_extension("unfinished");
    fs::copy(from, &unfinished).map_err(broken)?;
    fs::rename(unfinished, to).map_err(broken)
}

/// Runs to the end and gives what was printed.
///
/// # Errors
/// `Missing`, if it cannot be started or fails.
fn run(command: &mut Command) -> Result<String, Unready> {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(|error| Unready::Missing(format!("{line} does not start: {error}")))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = [stdout, stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(Unready::Missing(format!(
        "{line}: {status}: {}",
        said.trim()
    )))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken(error: std::io::Error) -> Unready {
    Unready::Broken(error.to_string())
}
