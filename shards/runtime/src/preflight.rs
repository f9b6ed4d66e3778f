//! Does this machine let us run? Asked before any executor is made, because glommio finds out late.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::buffers::{Buffers, Size};
use crate::ring;

/// What glommio demands of the limit, whatever it uses.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// What one executor locks: three registrations of its smallest storage memory.
const EXECUTOR_MEMLOCK_BYTES: u64 = 3 * 64 * 1024;
/// Capability 14: the limit does not count.
const CAP_IPC_LOCK: u32 = 14;

/// Checks that this many shards can run here.
///
/// # Errors
/// One line that says what the operator must change.
pub fn preflight(shards: usize) -> Result<(), String> {
    check_memlock(shards, memlock_bytes_max(), can_lock_memory())?;
    probe_ring().map_err(|error| reason(&error, io_uring_disabled().as_deref()))
}

/// Makes a ring the way shards make theirs.
fn probe_ring() -> io::Result<()> {
    let ring = ring::builder().build(8)?;
    let buffers = Buffers::register(&ring.submitter(), Size::Small)?;
    buffers.unregister(&ring.submitter())
}

fn reason(error: &io::Error, disabled: Option<&str>) -> String {
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM | libc::EACCES), Some(setting @ ("1" | "2"))) => format!(
            "io_uring is switched off here: run `sysctl kernel.io_uring_disabled=0` \
             (it is {setting})"
        ),
        (Some(libc::EPERM | libc::EACCES), _) => {
            "io_uring is forbidden here, likely by a container's seccomp profile: allow \
             io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        (Some(libc::ENOSYS), _) => {
            "this kernel has no io_uring: Linux 6.1 or newer with CONFIG_IO_URING is needed"
                .to_owned()
        }
        (Some(libc::EINVAL), _) => {
            "this kernel's io_uring is too old: Linux 6.1 or newer is needed".to_owned()
        }
        (Some(libc::ENOMEM), _) => {
            "no memory for an io_uring: raise the limit of locked memory (`ulimit -l`) or the \
             container's memory limit"
                .to_owned()
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "no descriptor left for an io_uring: raise the limit of open files (`ulimit -n`)"
                .to_owned()
        }
        _ => format!("io_uring does not work here: {error}"),
    }
}

fn check_memlock(shards: usize, limit: Option<u64>, exempt: bool) -> Result<(), String> {
    let Some(limit) = limit else { return Ok(()) };
    // One more for the executor that serves monitoring.
    let used = (shards as u64 + 1) * EXECUTOR_MEMLOCK_BYTES;
    let needed = if exempt { MEMLOCK_BYTES_MIN } else { used.max(MEMLOCK_BYTES_MIN) };
    if limit >= needed {
        return Ok(());
    }
    let kib = |bytes: u64| bytes / 1024;
    Err(format!(
        "locked memory is limited to {} KiB and {shards} shards need {} KiB: raise it with \
         `ulimit -l {}` or systemd's LimitMEMLOCK=",
        kib(limit),
        kib(needed),
        kib(needed)
    ))
}

/// The limit in bytes, if there is one.
fn memlock_bytes_max() -> Option<u64> {
    let limit = limit(libc::RLIMIT_MEMLOCK)?;
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

fn limit(resource: libc::__rlimit_resource_t) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is what getrlimit writes to.
    let done = unsafe { libc::getrlimit(resource, &raw mut limit) };
    (done == 0).then_some(limit)
}

fn can_lock_memory() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_IPC_LOCK & 1 == 1)
}

fn io_uring_disabled() -> Option<String> {
    let setting = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    Some(setting.trim().to_owned())
}

/// Descriptors that are no client's: of rings, bells, logs, monitoring.
const OWN_DESCRIPTORS: u64 = 256;
/// Descriptors there is room for from the start, at most: 8 MiB of the kernel's memory.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// As many open files as this process may have, and room for those of this many connections.
pub(crate) fn open_files_for(connections: u64) {
    raise_open_files();
    if let Err(error) = make_room(connections.saturating_add(OWN_DESCRIPTORS)) {
        log::debug!("No room for connections beforehand: {error}");
    }
}

fn raise_open_files() {
    let Some(mut limit) = limit(libc::RLIMIT_NOFILE) else { return };
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is read during the call only.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            log::warn!("The limit of open files stays: {}", io::Error::last_os_error());
        }
    }
}

/// Makes room for this many descriptors, or as many as may be, and says how many. The table
/// grows by doubling, and in a process of many threads whoever makes it grow waits for the whole
/// kernel to have seen that, 10 to 25 ms: no shard should.
fn make_room(descriptors: u64) -> io::Result<u64> {
    let limit = limit(libc::RLIMIT_NOFILE).map_or(u64::MAX, |limit| limit.rlim_cur);
    let room = descriptors.min(limit).min(DESCRIPTORS_MAX);
    let any = fs::File::open("/dev/null")?;
    let highest = i32::try_from(room.saturating_sub(1)).unwrap_or(i32::MAX);
    // SAFETY: no memory is involved; the descriptor is open.
    let copy = unsafe { libc::fcntl(any.as_raw_fd(), libc::F_DUPFD_CLOEXEC, highest) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(copy) });
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_descriptors_before_they_come() {
        raise_open_files();
        let room = make_room(5_000).expect("room");
        let status = fs::read_to_string("/proc/self/status").expect("a status");
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).expect("a size");
        assert!(size.trim().parse::<u64>().expect("a number") >= room, "{size} for {room}");
    }

    #[test]
    fn this_machine_will_do() {
        assert_eq!(preflight(4), Ok(()));
    }

    #[test]
    fn too_little_locked_memory_is_said_with_what_is_needed() {
        assert_eq!(check_memlock(4, None, false), Ok(()));
        assert_eq!(check_memlock(4, Some(8 << 20), false), Ok(()));
        let few = check_memlock(1, Some(64 << 10), true).unwrap_err();
        assert!(few.contains("64 KiB") && few.contains("`ulimit -l 512`"), "{few}");
        let many = check_memlock(64, Some(8 << 20), false).unwrap_err();
        assert!(many.contains("8192 KiB") && many.contains("need 12480 KiB"), "{many}");
        assert_eq!(check_memlock(64, Some(8 << 20), true), Ok(()));
    }

    #[test]
    fn each_failure_names_its_remedy() {
        let says = |errno, disabled| reason(&io::Error::from_raw_os_error(errno), disabled);
        assert!(says(libc::EPERM, Some("2")).contains("kernel.io_uring_disabled=0"));
        assert!(says(libc::EPERM, Some("0")).contains("seccomp"));
        assert!(says(libc::ENOSYS, None).contains("no io_uring"));
        assert!(says(libc::EINVAL, Some("0")).contains("Linux 6.1"));
        assert!(says(libc::EMFILE, Some("0")).contains("ulimit -n"));
    }
}
