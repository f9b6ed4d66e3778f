//! docs/from-nats-server.md, followed: its blocks are run in order, with both servers at hand.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::server::Program;

const GUIDE: &str = include_str!("../docs/from-nats-server.md");

/// The blocks marked as shell, one after the other.
fn steps() -> String {
    let mut steps = String::new();
    for block in GUIDE.split("\n```sh\n").skip(1) {
        steps.push_str(block.split("\n```").next().unwrap_or_default());
        steps.push('\n');
    }
    steps
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port().to_string()
}

#[test]
fn the_guide_from_nats_server_can_be_followed() {
    if !Program::under_test().takes_shards {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = std::env::temp_dir().join(format!("ringbus-guide-{}", std::process::id()));
    let programs = scratch.join("bin");
    fs::create_dir_all(&programs).expect("a directory");
    let reference = Program::reference().path;
    let tune = root.join("scripts/tune-host.sh");
    for (name, path) in [
        ("ringbus", &Program::under_test().path),
        ("nats-server", &reference),
        ("tune-host.sh", &tune),
    ] {
        symlink(fs::canonicalize(path).expect("it is there"), programs.join(name)).expect("a link");
    }
    let script = steps().replace("4222", &free_port()).replace("8222", &free_port());
    // Servers that a failing step leaves behind end with it.
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["120", "bash", "-euxo", "pipefail", "-c", &script])
        .current_dir(&scratch)
        .env("PATH", format!("{}:{path}", programs.display()))
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stdout));
    let _ = fs::remove_dir_all(&scratch);
}
