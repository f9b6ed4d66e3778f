//! Which CPUs this process may use: its affinity, and how much of them its control groups grant.

use std::fs;
use std::path::{Path, PathBuf};

/// The CPU each shard runs on, and whether to pin it there.
#[derive(Debug, PartialEq, Eq)]
pub struct Placement {
    /// CPU ids, one per shard; they repeat when there are more shards than CPUs.
    pub cores: Vec<usize>,
    pub pin: bool,
}

/// Places `shards` shards, or as many as there are cores to use. Unless the operator says, shards
/// are pinned only when each has a CPU of its own and no quota shifts them about.
pub fn place(shards: Option<usize>, pin: Option<bool>) -> Placement {
    let root = Path::new("/");
    let cpus = spread(allowed(root), |cpu| thread_rank(root, cpu));
    placement(&cpus, quota(root), shards, pin)
}

fn placement(
    cpus: &[usize],
    quota: Option<usize>,
    shards: Option<usize>,
    pin: Option<bool>,
) -> Placement {
    let usable = quota.map_or(cpus.len(), |quota| quota.min(cpus.len())).max(1);
    let count = shards.unwrap_or(usable);
    let own_core = count <= cpus.len() && quota.is_none_or(|quota| quota >= cpus.len());
    let first = [0];
    let cpus = if cpus.is_empty() { &first } else { cpus };
    Placement {
        cores: cpus.iter().copied().cycle().take(count).collect(),
        pin: pin.unwrap_or(own_core),
    }
}

/// One hardware thread of every core first, then the second ones.
fn spread(mut cpus: Vec<usize>, thread_rank: impl Fn(usize) -> usize) -> Vec<usize> {
    cpus.sort_by_cached_key(|cpu| (thread_rank(*cpu), *cpu));
    cpus
}

fn thread_rank(root: &Path, cpu: usize) -> usize {
    let path = root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    let siblings = fs::read_to_string(path).map(|text| cpu_list(&text)).unwrap_or_default();
    siblings.iter().position(|sibling| *sibling == cpu).unwrap_or(0)
}

fn allowed(root: &Path) -> Vec<usize> {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cpus = list.map(cpu_list).unwrap_or_default();
    if cpus.is_empty() {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        return (0..count).collect();
    }
    cpus
}

/// `0-2,5` → 0 1 2 5.
fn cpu_list(text: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.trim().parse::<usize>(), last.trim().parse::<usize>())
        {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// CPUs' worth of time the control groups grant, rounded up; `None` = no limit.
fn quota(root: &Path) -> Option<usize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mut least = None;
    for group in groups.lines().filter_map(Group::parse) {
        let Some(mount) = mounts.lines().filter_map(Mount::parse).find(|mount| mount.holds(&group))
        else {
            continue;
        };
        for directory in mount.directories(&group) {
            let directory = root.join(directory.strip_prefix("/").unwrap_or(&directory));
            let granted =
                if group.unified() { unified_quota(&directory) } else { legacy_quota(&directory) };
            least = [least, granted].into_iter().flatten().min();
        }
    }
    least
}

fn unified_quota(directory: &Path) -> Option<usize> {
    let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    whole_cpus(quota.parse().ok()?, period.parse().ok()?)
}

fn legacy_quota(directory: &Path) -> Option<usize> {
    let number = |name| fs::read_to_string(directory.join(name)).ok()?.trim().parse::<i64>().ok();
    let quota = u64::try_from(number("cpu.cfs_quota_us")?).ok()?;
    whole_cpus(quota, u64::try_from(number("cpu.cfs_period_us")?).ok()?)
}

fn whole_cpus(quota: u64, period: u64) -> Option<usize> {
    (period > 0).then(|| usize::try_from(quota.div_ceil(period)).unwrap_or(usize::MAX).max(1))
}

/// A line of `/proc/self/cgroup`: `0::/a/b`, or `4:cpu,cpuacct:/a/b` in the first version.
struct Group<'l> {
    controllers: &'l str,
    path: &'l str,
}

impl<'l> Group<'l> {
    fn parse(line: &'l str) -> Option<Group<'l>> {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let group = Group { controllers, path };
        (group.unified() || controllers.split(',').any(|name| name == "cpu")).then_some(group)
    }

    fn unified(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// A line of `/proc/self/mountinfo`, as far as control groups need it.
struct Mount<'l> {
    /// The group that is seen at `point`.
    root: &'l str,
    point: &'l str,
    kind: &'l str,
    options: &'l str,
}

impl<'l> Mount<'l> {
    fn parse(line: &'l str) -> Option<Mount<'l>> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut after = after.split(' ');
        Some(Mount {
            root: before.next()?,
            point: before.next()?,
            kind: after.next()?,
            options: after.nth(1)?,
        })
    }

    fn holds(&self, group: &Group<'_>) -> bool {
        if group.unified() {
            return self.kind == "cgroup2";
        }
        self.kind == "cgroup" && self.options.split(',').any(|option| option == "cpu")
    }

    /// The group's directory and those of the groups around it, as far as they are mounted.
    fn directories(&self, group: &Group<'_>) -> Vec<PathBuf> {
        let inside =
            if self.root == "/" { Some(group.path) } else { group.path.strip_prefix(self.root) };
        let inside = inside.unwrap_or("").trim_matches('/');
        let point = Path::new(self.point);
        let leaf = point.join(inside);
        leaf.ancestors()
            .take_while(|directory| directory.starts_with(point))
            .map(Path::to_path_buf)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, cpus) in
            [("0-2,5\n", vec![0, 1, 2, 5]), ("\t7", vec![7]), ("", vec![]), ("x", vec![])]
        {
            assert_eq!(cpu_list(text), cpus);
        }
    }

    #[test]
    fn placements() {
        let table = [
            (vec![0, 1], None, None, None, vec![0, 1], true),
            (vec![4, 6], None, Some(3), None, vec![4, 6, 4], false),
            (vec![0, 1, 2, 3], Some(2), None, None, vec![0, 1], false),
            (vec![0, 1, 2, 3], Some(9), None, None, vec![0, 1, 2, 3], true),
            (vec![0, 1], Some(1), None, Some(true), vec![0], true),
            (vec![], None, None, None, vec![0], false),
        ];
        for (cpus, quota, shards, pin, cores, pinned) in table {
            let expected = Placement { cores, pin: pinned };
            assert_eq!(
                placement(&cpus, quota, shards, pin),
                expected,
                "{cpus:?} {quota:?} {shards:?}"
            );
        }
    }

    #[test]
    fn hardware_threads_come_last() {
        assert_eq!(spread(vec![0, 1, 2, 3], |cpu| cpu % 2), [0, 2, 1, 3]);
    }

    type Files<'f> = &'f [(&'f str, &'f str)];
    type Case<'f> = (&'f str, Files<'f>, Option<usize>);

    fn tree(name: &str, files: Files) -> PathBuf {
        let root =
            std::env::temp_dir().join(format!("ringbus-cores-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn quotas() {
        let v2 = "30 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let v1 = "31 25 0:28 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n";
        let max = "sys/fs/cgroup/a/cpu.max";
        let cases: &[Case] = &[
            (
                "parent",
                &[
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("proc/self/mountinfo", v2),
                    (max, "150000 100000\n"),
                ],
                Some(2),
            ),
            (
                "none",
                &[
                    ("proc/self/cgroup", "0::/a\n"),
                    ("proc/self/mountinfo", v2),
                    (max, "max 100000\n"),
                ],
                None,
            ),
            (
                "small",
                &[
                    ("proc/self/cgroup", "0::/a\n"),
                    ("proc/self/mountinfo", v2),
                    (max, "1000 100000\n"),
                ],
                Some(1),
            ),
            (
                "legacy",
                &[
                    ("proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n2:memory:/docker/x\n"),
                    ("proc/self/mountinfo", v1),
                    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n"),
                    ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
                ],
                Some(3),
            ),
            ("absent", &[], None),
        ];
        for (name, files, expected) in cases {
            let root = tree(name, files);
            assert_eq!(quota(&root), *expected, "{name}");
            let _ = fs::remove_dir_all(root);
        }
    }
}
