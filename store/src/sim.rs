//! A disk in memory that loses power.
//!
//! Which faults, and why they are the ones to survive:
//! - Unsynced writes are kept or lost sector by sector (512 octets), in any combination: a device reorders and tears as it likes, but
//!   writes a sector whole.
//! - The length of a file grows with whichever of its sectors survived, so a tail may be zeros that nobody wrote.
//! - Names (create, rename, remove) survive up to some point in the order they were made, as journalling file systems do.
//! - A sync fails and keeps nothing of what it should have kept; whoever ignores that will lose data.
//! - No space is left: a write fails with nothing, or with a part written.
//!
//! Everything random follows from one seed, so a failure can be run again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::{Disk, File};

/// What a device writes as a whole.
const SECTOR: usize = 512;

/// A small generator (xorshift64*), so that a seed means the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next_u64() >> 16) % bound.max(1)
    }

    /// True once in `n`.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Debug, Default, Clone)]
struct Node {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Debug)]
struct World {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    changes: Vec<NameChange>,
    /// Changing operations so far.
    operations: u64,
    /// Operation at which the power goes.
    crash_at: Option<u64>,
    /// Sync, counted from now, that fails.
    fail_sync_in: Option<u64>,
    syncs: u64,
    down: bool,
    random: Random,
    /// Octets that may be allocated; `None` without limit.
    capacity: Option<u64>,
    read_only: bool,
    generation: u64,
}

impl World {
    /// Counts a changing operation. True if the power goes with it.
    fn step(&mut self) -> io::Result<bool> {
        if self.down {
            return Err(power_cut());
        }
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.operations += 1;
        if self.crash_at.is_some_and(|at| self.operations >= at) {
            self.down = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn allocated(&self) -> u64 {
        self.names
            .values()
            .map(|&node| self.nodes[node].current.len() as u64)
            .sum()
    }
}

fn power_cut() -> io::Error {
    io::Error::other("the simulated power is off")
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Set(path, node) => drop(names.insert(path.clone(), *node)),
        NameChange::Remove(path) => drop(names.remove(path)),
        NameChange::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

fn overlay(target: &mut Vec<u8>, at: usize, data: &[u8]) {
    if target.len() < at + data.len() {
        target.resize(at + data.len(), 0);
    }
    target[at..at + data.len()].copy_from_slice(data);
}

/// See the module.
#[derive(Debug, Clone)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

impl SimDisk {
    /// An empty disk whose faults follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            nodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            operations: 0,
            crash_at: None,
            fail_sync_in: None,
            syncs: 0,
            down: false,
            random: Random::new(seed),
            capacity: None,
            read_only: false,
            generation: 0,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changing operations so far: writes, syncs, creations, renames, removals.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// File syncs so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// Octets allocated to files.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.world().allocated()
    }

    /// Lets the power go at the `n`th changing operation from now (1 is the next).
    pub fn crash_in(&self, n: u64) {
        let mut world = self.world();
        world.crash_at = Some(world.operations + n);
    }

    /// Lets the `n`th file sync from now fail (1 is the next).
    pub fn fail_sync_in(&self, n: u64) {
        let mut world = self.world();
        world.fail_sync_in = Some(world.syncs + n);
    }

    /// Limits the space; `None` lifts the limit.
    pub fn set_capacity(&self, capacity: Option<u64>) {
        self.world().capacity = capacity;
    }

    /// Refuses every change from now on.
    pub fn set_read_only(&self) {
        self.world().read_only = true;
    }

    /// True if a sync has failed since the last start.
    #[must_use]
    pub fn has_failed_sync(&self) -> bool {
        let world = self.world();
        world.fail_sync_in.is_some_and(|at| at <= world.syncs)
    }

    /// True once the power is off.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.world().down
    }

    /// Cuts the power, if it is not off, and turns it on again: of what was not synced, some of each file and a beginning of the
    /// name changes is left.
    pub fn restart(&self) {
        let mut guard = self.world();
        let world = &mut *guard;
        for node in &mut world.nodes {
            let Node {
                durable,
                current,
                pending,
            } = node;
            for (at, data) in pending.drain(..) {
                keep_some(durable, at, &data, &mut world.random);
            }
            current.clone_from(durable);
        }
        let kept = world.random.below(world.changes.len() as u64 + 1);
        for change in world
            .changes
            .drain(..)
            .take(usize::try_from(kept).unwrap_or(usize::MAX))
        {
            apply(&mut world.durable_names, &change);
        }
        world.names.clone_from(&world.durable_names);
        (world.down, world.crash_at, world.fail_sync_in) = (false, None, None);
        world.generation += 1;
    }

    /// Kills the process but not the machine: everything written is still there.
    pub fn kill(&self) {
        let mut world = self.world();
        (world.down, world.crash_at, world.fail_sync_in) = (false, None, None);
        world.generation += 1;
    }

    /// A disk with the same files and another fate.
    #[must_use]
    pub fn fork(&self) -> Self {
        let world = self.world();
        let mut used: BTreeSet<usize> = world.names.values().copied().collect();
        used.extend(world.durable_names.values());
        used.extend(world.changes.iter().filter_map(|change| match change {
            NameChange::Set(_, node) => Some(*node),
            NameChange::Rename(..) | NameChange::Remove(_) => None,
        }));
        let nodes = world.nodes.iter().enumerate().map(|(number, node)| {
            if used.contains(&number) {
                node.clone()
            } else {
                Node::default()
            }
        });
        let fork = Self::new(0);
        let mut other = fork.world();
        other.nodes = nodes.collect();
        other.names.clone_from(&world.names);
        other.durable_names.clone_from(&world.durable_names);
        other.changes.clone_from(&world.changes);
        drop(other);
        fork
    }

    /// Contents of a file.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.world();
        world
            .names
            .get(path)
            .map(|&node| world.nodes[node].current.clone())
    }

    /// Changes a file behind everybody's back, durably.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut guard = self.world();
        let world = &mut *guard;
        if let Some(&node) = world.names.get(path) {
            let node = &mut world.nodes[node];
            change(&mut node.current);
            node.durable.clone_from(&node.current);
            node.pending.clear();
        }
    }

    /// Removes every file below a directory, durably.
    pub fn remove_all(&self, directory: &Path) {
        let mut world = self.world();
        world.names.retain(|path, _| !path.starts_with(directory));
        world
            .durable_names
            .retain(|path, _| !path.starts_with(directory));
    }

    /// Files in a directory.
    #[must_use]
    pub fn files(&self, directory: &Path) -> Vec<PathBuf> {
        self.world()
            .names
            .keys()
            .filter(|path| path.parent() == Some(directory))
            .cloned()
            .collect()
    }
}

/// Applies a random selection of the sectors of an unsynced write.
fn keep_some(durable: &mut Vec<u8>, at: usize, data: &[u8], random: &mut Random) {
    // Mostly all or nothing of a write; now and then any combination.
    let mode = random.below(4);
    let mut from = 0;
    while from < data.len() {
        let to = data.len().min(((at + from) / SECTOR + 1) * SECTOR - at);
        let keep = match mode {
            0 => false,
            1 => true,
            _ => random.one_in(2),
        };
        if keep {
            overlay(durable, at + from, &data[from..to]);
        }
        from = to;
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        if self.is_down() {
            Err(power_cut())
        } else {
            Ok(())
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        if self.is_down() {
            return Err(power_cut());
        }
        let names = self.files(directory).into_iter();
        Ok(names
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let world = self.world();
        if world.down {
            return Err(power_cut());
        }
        let node = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            node,
            generation: world.generation,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut world = self.world();
        if world.step()? {
            return Err(power_cut());
        }
        world.nodes.push(Node::default());
        let node = world.nodes.len() - 1;
        world.names.insert(path.to_owned(), node);
        world.changes.push(NameChange::Set(path.to_owned(), node));
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            node,
            generation: world.generation,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.down && !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(
            &mut world,
            NameChange::Rename(from.to_owned(), to.to_owned()),
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.down && !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(&mut world, NameChange::Remove(path.to_owned()))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        let mut guard = self.world();
        let world = &mut *guard;
        if world.step()? {
            return Err(power_cut());
        }
        // Names are kept in order, so those of other directories made before go along.
        let _ = directory;
        for change in world.changes.drain(..) {
            apply(&mut world.durable_names, &change);
        }
        Ok(())
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let world = self.world();
        let free = |capacity: u64| capacity.saturating_sub(world.allocated());
        Ok(world.capacity.map_or(u64::MAX, free))
    }

    fn is_real(&self) -> bool {
        false
    }
}

impl SimDisk {
    #[expect(clippy::unused_self, reason = "reads like the operations beside it")]
    fn change(&self, world: &mut World, change: NameChange) -> io::Result<()> {
        let last = world.step()?;
        apply(&mut world.names, &change);
        world.changes.push(change);
        if last { Err(power_cut()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    node: usize,
    generation: u64,
}

impl SimFile {
    /// The world, unless the power is off or the file was opened before it last went.
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        if world.down || world.generation != self.generation {
            Err(power_cut())
        } else {
            Ok(world)
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.world()?;
        let current = &world.nodes[self.node].current;
        let from = usize::try_from(offset)
            .map_err(io::Error::other)?
            .min(current.len());
        let count = buffer.len().min(current.len() - from);
        buffer[..count].copy_from_slice(&current[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut guard = self.world()?;
        let world = &mut *guard;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let growth = (at + data.len()).saturating_sub(world.nodes[self.node].current.len()) as u64;
        if growth > 0
            && world
                .capacity
                .is_some_and(|capacity| world.allocated() + growth > capacity)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let last = world.step()?;
        let node = &mut world.nodes[self.node];
        overlay(&mut node.current, at, data);
        node.pending.push((at, data.to_vec()));
        if last { Err(power_cut()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.world()?;
        let world = &mut *guard;
        world.syncs += 1;
        let fails = world.fail_sync_in == Some(world.syncs);
        let last = world.step()?;
        let node = &mut world.nodes[self.node];
        if fails {
            // As on Linux: the pages are marked clean, and what they held may or may not reach the disk.
            for (at, data) in std::mem::take(&mut node.pending) {
                keep_some(&mut node.durable, at, &data, &mut world.random);
            }
            return Err(io::Error::other("simulated sync failure"));
        }
        if last {
            return Err(power_cut());
        }
        for (at, data) in std::mem::take(&mut node.pending) {
            overlay(&mut node.durable, at, &data);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.nodes[self.node].current.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_writes_survive_and_others_may_not() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..50 {
            let disk = SimDisk::new(seed);
            let file = disk.create(Path::new("d/f")).unwrap();
            file.write_at(&[1; 2000], 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(Path::new("d")).unwrap();
            file.write_at(&[2; 2000], 1000).unwrap();
            disk.restart();
            let contents = disk.contents(Path::new("d/f")).unwrap();
            assert_eq!(contents[..1000], [1; 1000]);
            let changed = contents[1000..].iter().filter(|&&octet| octet == 2).count();
            kept += usize::from(changed == 2000);
            lost += usize::from(changed == 0);
        }
        assert!(kept > 0 && lost > 0 && kept + lost < 50);
    }

    #[test]
    fn a_name_survives_only_with_its_directory() {
        let lost = (0..50).filter(|&seed| {
            let disk = SimDisk::new(seed);
            let file = disk.create(Path::new("d/f")).unwrap();
            file.sync().unwrap();
            disk.restart();
            disk.contents(Path::new("d/f")).is_none()
        });
        assert!((1..50).contains(&lost.count()));
    }
}
