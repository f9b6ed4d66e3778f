//! Writes the man page and the completions of bash, zsh and fish into a directory, from the
//! description that `ringbus -h` prints: `cargo run --example documents -- directory`.

use std::path::Path;
use std::{fs, io};

use clap::{Arg, Command};
use clap_complete::Shell;

#[path = "../src/cli/arguments.rs"]
#[allow(dead_code, reason = "the usage text is for the server")]
mod arguments;
#[path = "../src/cli/flags.rs"]
#[allow(dead_code, reason = "nothing is parsed here")]
mod flags;

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

/// The command line as `-h` has it.
pub fn command() -> Command {
    arguments::described()
        .name(PROGRAM)
        .about("A message bus that speaks NATS, one io_uring shard per core")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(AFTER)
        .mut_args(with_aliases)
}

/// Man pages name a flag once; its other names are told in its text.
fn with_aliases(argument: Arg) -> Arg {
    let names = argument.get_visible_aliases().into_iter().flatten();
    let names: Vec<String> = names.map(|name| format!("--{name}")).collect();
    match argument.get_help().cloned() {
        Some(help) if !names.is_empty() => {
            argument.help(format!("{help} (also {})", names.join(", ")))
        }
        _ => argument,
    }
}
