//! Secrets of the command line, taken out of what `ps` shows of this process.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, read, read_to_string};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

/// Flags whose value is one, without dashes.
const SECRET: [&str; 3] = ["user", "pass", "auth"];
/// Flags whose value is a URL, or several with commas between, that may hold one.
const URLS: [&str; 3] = ["routes", "cluster", "cluster_listen"];

const HIDDEN: &str = "[REDACTED]";

/// These arguments as others may see them.
pub fn shown(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut shown: Vec<Vec<u8>> = arguments.map(OsString::into_vec).collect();
    let secrets = secrets(shown.iter().map(Vec::as_slice));
    // From the back, so that places further on stay what they are.
    for (argument, place) in secrets.into_iter().rev() {
        shown[argument].splice(place, HIDDEN.bytes());
    }
    shown.iter().map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// Where secrets are, in order: in which argument, and which bytes of it.
fn secrets<'a>(arguments: impl Iterator<Item = &'a [u8]>) -> Vec<(usize, Range<usize>)> {
    let (mut found, mut flag_before) = (Vec::new(), "");
    for (at, argument) in arguments.enumerate() {
        let (name, start) = holder(flag_before, argument);
        if SECRET.contains(&name) {
            found.push((at, start..argument.len()));
        } else if URLS.contains(&name) {
            found.extend(users(argument, start).into_iter().map(|place| (at, place)));
        }
        flag_before = if flag_before.is_empty() { flag(argument) } else { "" };
    }
    found
}

/// Users and passwords of the URLs that begin at `start`.
fn users(argument: &[u8], mut start: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for url in argument[start..].split(|byte| *byte == b',') {
        let user = url.windows(3).position(|at| at == b"://").map_or(0, |at| at + 3);
        let end = url.iter().rposition(|byte| *byte == b'@').filter(|end| *end >= user);
        found.extend(end.map(|end| start + user..start + end));
        start += url.len() + 1;
    }
    found
}

/// The flag whose value is in this argument, and where it begins there.
fn holder(flag_before: &'static str, argument: &[u8]) -> (&'static str, usize) {
    match (flag_before, argument.iter().position(|byte| *byte == b'=')) {
        ("", Some(end)) => match flag(&argument[..end]) {
            "" => ("", 0),
            flag => (flag, end + 1),
        },
        (flag, _) => (flag, 0),
    }
}

/// The flag of that name, if it has a secret.
fn flag(word: &[u8]) -> &'static str {
    let name = word.strip_prefix(b"--").or(word.strip_prefix(b"-")).unwrap_or_default();
    SECRET.into_iter().chain(URLS).find(|flag| flag.as_bytes() == name).unwrap_or_default()
}

/// Overwrites them with `x`, as far as the kernel lets a process do that to itself. They were there
/// for all to see until then: a configuration file is the better place.
pub fn hide() {
    if let Err(error) = try_hide() {
        log::debug!("Secrets of the command line can not be hidden: {error}");
    }
}

fn try_hide() -> io::Result<()> {
    let line = read("/proc/self/cmdline")?;
    let hidden = hidden(&line);
    if hidden == line {
        return Ok(());
    }
    let start = start_of(&read_to_string("/proc/self/stat")?)
        .ok_or_else(|| io::Error::other("/proc/self/stat does not say where they are"))?;
    let memory: File = OpenOptions::new().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&hidden, start)
}

/// Where the arguments are in memory: `arg_start` of proc_pid_stat(5), its 48th field. The second,
/// in brackets, may hold blanks and brackets.
fn start_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(48 - 3)?.parse().ok()
}

/// The same bytes, those of secrets made `x`. Arguments end with a NUL each.
fn hidden(line: &[u8]) -> Vec<u8> {
    let mut hidden = line.to_vec();
    let mut secrets = secrets(line.split(|byte| *byte == 0)).into_iter().peekable();
    for (at, argument) in hidden.split_mut(|byte| *byte == 0).enumerate() {
        while let Some((_, place)) = secrets.next_if(|(argument, _)| *argument == at) {
            argument[place].fill(b'x');
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_and_nothing_else_is() {
        let table = [
            ("a -p 1 --user u --pass hush -D", "a -p 1 --user x --pass xxxx -D"),
            ("a -auth=t=t -c x", "a -auth=xxx -c x"),
            ("a --pass=hush --auth hush", "a --pass=xxxx --auth xxxx"),
            ("a --pass --auth --auth b", "a --pass xxxxxx --auth x"),
            ("a --routes nats://u:p@h:1,n://h:2", "a --routes nats://xxx@h:1,n://h:2"),
            ("a -cluster=nats://u:p@h:1 user", "a -cluster=nats://xxx@h:1 user"),
            ("a --user", "a --user"),
        ];
        let bytes = |line: &str| line.replace(' ', "\0").into_bytes();
        for (line, covered) in table {
            assert_eq!(hidden(&bytes(line)), bytes(covered), "{line}");
        }
        assert_eq!(hidden(b"a\0--pass\0\xff\xfe\0b"), b"a\0--pass\0xx\0b");
        let table = [
            ("a -p 1 --user u --pass hush -D", "a -p 1 --user [REDACTED] --pass [REDACTED] -D"),
            ("a -auth=t=t -n=x", "a -auth=[REDACTED] -n=x"),
            ("a --routes n://u:p@h:1,n://h:2", "a --routes n://[REDACTED]@h:1,n://h:2"),
        ];
        for (line, redacted) in table {
            let words = shown(line.split(' ').map(OsString::from));
            assert_eq!(words.join(" "), redacted, "{line}");
        }
    }

    #[test]
    fn the_arguments_are_found_in_memory() {
        let stat = read_to_string("/proc/self/stat").unwrap();
        let start = start_of(&stat).unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let line = read("/proc/self/cmdline").unwrap();
        let mut found = vec![0; line.len()];
        memory.read_exact_at(&mut found, start).unwrap();
        assert_eq!(found, line);
    }
}
