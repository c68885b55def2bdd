//! How much memory there is: the machine's, or what a cgroup leaves of it.

use std::fs;
use std::path::Path;

/// What is assumed where nothing can be read (a system without `/proc`): a small machine.
const FALLBACK_BYTES: u64 = 2 << 30;

/// Reads how many bytes of memory this process may use: the least of the machine's and all enclosing cgroups'.
#[must_use]
pub fn memory_bytes() -> u64 {
    memory_bytes_below(Path::new("/"))
}

/// The same with another root directory, for tests.
fn memory_bytes_below(root: &Path) -> u64 {
    let machine = read(&root.join("proc/meminfo")).and_then(|text| meminfo_total_bytes(&text));
    let groups = read(&root.join("proc/self/cgroup"));
    let cgroup = groups
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| cgroup_bytes(root, line))
        .min();
    match (machine, cgroup) {
        (Some(machine), Some(cgroup)) => machine.min(cgroup),
        (Some(bytes), None) | (None, Some(bytes)) => bytes,
        (None, None) => FALLBACK_BYTES,
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `MemTotal:       16384000 kB`
fn meminfo_total_bytes(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit along one line of `/proc/self/cgroup`: `0::/a/b` (version 2) or `7:memory:/a/b` (version 1).
///
/// Inside a container the path may be the host's, with the container's own group mounted at the top: so every group
/// from the path up to the mount point is asked, and what is not there is passed over.
fn cgroup_bytes(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let (mount, file) = if number == "0" && controllers.is_empty() {
        (root.join("sys/fs/cgroup"), "memory.max")
    } else if controllers
        .split(',')
        .any(|controller| controller == "memory")
    {
        (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    let group = mount.join(path.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|directory| directory.starts_with(&mount))
        // "max" (version 2: no limit) is no number; version 1 writes a number larger than any machine.
        .filter_map(|directory| read(&directory.join(file))?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: u64) {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a file has a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        assert_eq!(memory_bytes_below(root.path()), expected, "{files:?}");
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:       16384 kB\nMemFree:         1 kB\n",
    );

    #[test]
    fn the_smaller_of_machine_and_cgroup_counts() {
        check(&[], FALLBACK_BYTES);
        check(&[MEMINFO], 16 << 20);
        check(
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "1048576\n"),
            ],
            1 << 20,
        );
        check(
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ],
            16 << 20,
        );
        check(
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", "2097152\n"),
            ],
            2 << 20,
        );
        check(
            &[
                MEMINFO,
                ("proc/self/cgroup", "9:cpu,cpuacct:/x\n7:memory:/y\n0::/\n"),
                ("sys/fs/cgroup/memory/y/memory.limit_in_bytes", "4194304\n"),
                (
                    "sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
            ],
            4 << 20,
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(memory_bytes() > 1 << 20);
    }
}
