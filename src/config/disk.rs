//! How much of its disk a store may take: a size, a share, or what the disk has room for.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::leaf::{Leaf, Literal, expected, quoted};
use super::units::{SizeOrPercent, serde_by_leaf};

/// The part of the free space that is taken where nothing else is said.
const AUTO_PERCENT: u64 = 80;

/// A limit of what lies on a disk: `"auto"`, `"100 GB"` or `"50 %"` of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskLimit {
    /// 80 % of what is free, and not more than a maximum.
    Auto,
    /// So much.
    Of(SizeOrPercent),
}

impl fmt::Display for DiskLimit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Of(limit) => limit.fmt(out),
        }
    }
}

impl Leaf for DiskLimit {
    const EXPECTED: &'static str =
        "\"auto\", a size such as \"100 GB\" or a share of the disk from \"1 %\" to \"100 %\"";

    fn read(literal: &Literal<'_>) -> Result<Self, String> {
        match literal {
            Literal::Text(text) if text.trim().eq_ignore_ascii_case("auto") => Ok(Self::Auto),
            other => SizeOrPercent::read(other)
                .map(Self::Of)
                .map_err(|_| expected::<Self>(literal)),
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

serde_by_leaf!(DiskLimit);

/// A disk, as somebody finds it who wants to put something there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Octets of the whole disk.
    pub total_bytes: u64,
    /// Octets that are free, or taken by whoever asks already.
    pub free_bytes: u64,
}

impl DiskSpace {
    /// Looks at the disk that `path` is on, or will be. What the files in `own` take counts as free.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn of(path: &Path, own: &Path) -> io::Result<Self> {
        // A relative path none of whose parents exists is one in the working directory.
        let there = path.ancestors().find(|path| path.exists());
        let there = there.unwrap_or_else(|| Path::new("."));
        let free_bytes = fs2::available_space(there)?.saturating_add(held_in(own));
        Ok(Self {
            total_bytes: fs2::total_space(there)?,
            free_bytes,
        })
    }
}

/// Octets of the files in a directory; none if it is not there.
fn held_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let lengths = entries.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    lengths.sum()
}

/// A limit as it holds on a certain disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// Octets.
    pub bytes: u64,
    /// What was asked for, if the disk has no room for it.
    pub cut_from: Option<u64>,
}

impl DiskLimit {
    /// The limit in octets on a disk (USE-1): what was asked for, cut to what is free. Not asked for anything, at most
    /// `auto_max`.
    #[must_use]
    pub fn on(self, disk: DiskSpace, auto_max: u64) -> Resolved {
        let asked = match self {
            Self::Auto => {
                let share = u128::from(disk.free_bytes) * u128::from(AUTO_PERCENT) / 100;
                let bytes = u64::try_from(share).unwrap_or(u64::MAX).min(auto_max);
                return Resolved {
                    bytes,
                    cut_from: None,
                };
            }
            Self::Of(SizeOrPercent::Size(size)) => size.bytes(),
            Self::Of(share) => share.of(disk.total_bytes),
        };
        Resolved {
            bytes: asked.min(disk.free_bytes),
            cut_from: (asked > disk.free_bytes).then_some(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DiskLimit {
        DiskLimit::read(&Literal::Text(text)).expect("a limit")
    }

    #[test]
    fn a_limit_prints_what_it_reads() {
        for text in ["auto", "100 GiB", "64 MiB", "50 %"] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(read(" Auto "), DiskLimit::Auto);
        for wrong in ["", "none", "0 %", "101 %", "-1"] {
            assert!(DiskLimit::read(&Literal::Text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_cut_to_what_the_disk_has() {
        let disk = DiskSpace {
            total_bytes: 1000,
            free_bytes: 600,
        };
        for (text, bytes, cut_from) in [
            ("auto", 480, None),
            ("500 B", 500, None),
            ("50 %", 500, None),
            ("601 B", 600, Some(601)),
            ("70 %", 600, Some(700)),
        ] {
            assert_eq!(
                read(text).on(disk, 10_000),
                Resolved { bytes, cut_from },
                "{text}"
            );
        }
        assert_eq!(read("auto").on(disk, 100).bytes, 100);
    }

    #[test]
    fn what_lies_there_already_counts_as_free() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = directory.path().join("own");
        let before = held_in(&own);
        fs::create_dir(&own).expect("a directory");
        fs::write(own.join("file"), [0; 1000]).expect("a file");
        assert_eq!((before, held_in(&own)), (0, 1000));
        let space = DiskSpace::of(&directory.path().join("not/yet/there"), &own);
        let space = space.expect("the system tells");
        assert!(space.total_bytes > 0 && space.free_bytes >= 1000);
    }
}
