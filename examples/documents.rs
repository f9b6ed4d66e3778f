//! Writes the man page and the completions of bash, zsh and fish into a directory, from the same
//! text that `ringbus -h` prints: `cargo run --example documents -- directory`.

use std::path::Path;
use std::{fs, io};

use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::Shell;

const USAGE: &str = include_str!("../src/cli/usage.txt");
const PROGRAM: &str = "ringbus";

const AFTER: &str = "\
Signals: INT and TERM end the server, USR1 reopens its log file, HUP reloads its configuration, USR2 \
begins lame duck mode.\n\n\
Files: /etc/ringbus/ringbus.conf is what the systemd unit starts it with. Files named *.toml are read \
as TOML, others in the syntax of nats-server.\n\n\
The man pages of systemd.service(5) and sysctl(8) tell how to raise limits; `ulimit -l` and \
`ulimit -n` are those that matter.";

fn main() -> io::Result<()> {
    let Some(directory) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: documents <directory>"));
    };
    write(Path::new(&directory))
}

/// Writes all of them.
pub fn write(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (shell, name) in
        [(Shell::Bash, "ringbus.bash"), (Shell::Zsh, "_ringbus"), (Shell::Fish, "ringbus.fish")]
    {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut command(), PROGRAM, &mut text);
        fs::write(directory.join(name), text)?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command()).section("8").render(&mut page)?;
    fs::write(directory.join("ringbus.8"), page)
}

/// The command line as the usage text has it.
pub fn command() -> Command {
    let mut command = Command::new(PROGRAM)
        .about("A message bus that speaks NATS, one io_uring shard per core")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER)
        .disable_help_flag(true)
        .disable_version_flag(true);
    let mut heading = String::new();
    let mut names = String::new();
    for line in USAGE.lines() {
        if let Some(title) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            heading = title.to_owned();
        } else if line.trim_start().starts_with('-') {
            let (more, help) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            names = if names.is_empty() { more.to_owned() } else { format!("{names}, {more}") };
            if !help.is_empty() {
                command = command.arg(argument(&names, help.trim(), &heading));
                names.clear();
            }
        }
    }
    command
}

/// One flag, from `-a, --addr, --net <host>`.
fn argument(names: &str, help: &str, heading: &str) -> Arg {
    let (names, value) = match names.split_once(" <") {
        Some((names, value)) => (names, Some(value.trim_end_matches('>'))),
        None => (names, None),
    };
    let mut longs: Vec<&'static str> = Vec::new();
    let mut short = None;
    for name in names.split(", ").map(str::trim) {
        let bare = name.trim_start_matches('-');
        match (name.starts_with("--"), bare.chars().count()) {
            (false, 1) => short = bare.chars().next(),
            // Go's flags take one dash or two before any name; these tools know two.
            // They live as long as the program: it makes them once.
            _ => longs.push(&*bare.to_owned().leak()),
        }
    }
    let id: &'static str =
        longs.last().copied().or(short.map(|c| &*c.to_string().leak())).unwrap_or_default();
    // Man pages name a flag once; its other names are told in its text.
    let others: Vec<String> = longs.iter().skip(1).map(|long| format!("--{long}")).collect();
    let also =
        if others.is_empty() { String::new() } else { format!(" (also {})", others.join(", ")) };
    let mut argument =
        Arg::new(id).help(format!("{help}{also}")).help_heading(&*heading.to_owned().leak());
    if let Some(short) = short {
        argument = argument.short(short);
    }
    if let Some(long) = longs.first() {
        argument = argument.long(*long);
    }
    argument = argument.visible_aliases(longs.into_iter().skip(1));
    match value {
        None => argument.action(ArgAction::SetTrue),
        Some(value) => {
            let hint = match value {
                "file" => ValueHint::FilePath,
                "dir" => ValueHint::DirPath,
                "host" => ValueHint::Hostname,
                _ => ValueHint::Other,
            };
            argument.value_name(&*value.to_owned().leak()).value_hint(hint)
        }
    }
}
