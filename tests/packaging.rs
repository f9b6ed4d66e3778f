//! What is shipped: the Debian package and the container image are built from the binary under test,
//! taken apart again, and the server in them is started.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::documents::generator;
use crate::harness::server::{Program, follow};

const SOON: Duration = Duration::from_secs(20);
/// The aim for the image; debug assertions are in what tests build, and cost some of it.
const IMAGE_BYTES_MAX: u64 = 10_000_000;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("ringbus-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Its standard output; the test fails if it does.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out.into_owned()
}

/// Starts the server inside a directory as if that were all there is, and asks it for INFO.
fn serves_from(root: &str, arguments: &[&str]) {
    let mut inside = Command::new("unshare");
    if run(Command::new("id").arg("-u")).trim() != "0" {
        inside.arg("--map-root-user");
    }
    // As a container engine does: the executors look up the cores in /sys.
    let script = "mkdir -p \"$0/proc\" \"$0/sys\" && mount --rbind /proc \"$0/proc\" && \
                  mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" \"$@\"";
    inside.args(["--mount", "sh", "-c", script, root, "/usr/bin/ringbus"]);
    inside.args(arguments).args(["--ports_file_dir", "/tmp"]);
    serves(inside, &format!("{root}/tmp"));
}

/// Starts a server whose ports file goes into a directory, and asks it for INFO.
fn serves(mut command: Command, ports: &str) {
    let mut child = command
        .args(["-a", "127.0.0.1", "-p", "-1", "--shards", "1"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let log = follow(child.stderr.take().expect("stderr is piped"));
    let (mut lines, mut ready) = (Vec::new(), false);
    while !ready && let Ok(line) = log.recv_timeout(SOON) {
        ready = line.contains("Server is ready");
        lines.push(line);
    }
    let port = port_said(ports).filter(|_| ready).unwrap_or_else(|| {
        let _ = child.kill();
        panic!("it does not serve: {command:?}:\n{}", lines.join("\n"));
    });
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").expect("it reads");
    let mut said = [0; 6];
    // An interrupted read is made again.
    stream.read_exact(&mut said).expect("it answers");
    assert_eq!(String::from_utf8_lossy(&said), "INFO {");
    let _ = child.kill();
    let _ = child.wait();
}

/// From the ports file.
fn port_said(ports: &str) -> Option<u16> {
    let files = fs::read_dir(ports).ok()?.flatten();
    let ports = files
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|e| e == "ports"))?;
    let said: serde_json::Value = serde_json::from_str(&fs::read_to_string(ports).ok()?).ok()?;
    said["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

#[test]
fn the_image_holds_a_server_that_serves() {
    if !Program::under_test().takes_shards {
        return;
    }
    let scratch = Scratch::new("image");
    let image = scratch.at("image.tar");
    let mut build = Command::new(root().join("scripts/build-image.sh"));
    run(build.arg(&image).env("RINGBUS_BIN", Program::under_test().path));
    let bytes = fs::metadata(&image).expect("it is there").len();
    assert!(bytes <= IMAGE_BYTES_MAX, "an image of {bytes} bytes");

    let layout = scratch.at("layout");
    fs::create_dir(&layout).expect("a directory");
    run(Command::new("tar").args(["-C", &layout, "-xf", &image]));
    let blob =
        |digest: &str| format!("{layout}/blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    let json = |path: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(path).expect("it can be read")).expect("JSON")
    };
    let index = json(&format!("{layout}/index.json"));
    let manifest = json(&blob(index["manifests"][0]["digest"].as_str().expect("a digest")));
    let config = json(&blob(manifest["config"]["digest"].as_str().expect("a digest")));
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/bin/ringbus");
    for file in fs::read_dir(format!("{layout}/blobs/sha256")).expect("blobs").flatten() {
        let sum = run(Command::new("sha256sum").arg(file.path()));
        assert!(sum.starts_with(&file.file_name().to_string_lossy().into_owned()), "{sum}");
    }
    let layer = blob(manifest["layers"][0]["digest"].as_str().expect("a digest"));
    let inside = scratch.at("inside");
    fs::create_dir(&inside).expect("a directory");
    run(Command::new("tar").args(["-C", &inside, "-xzf", &layer]));
    serves_from(&inside, &["-c", "/etc/ringbus/ringbus.conf"]);
}

#[test]
fn the_seccomp_profile_is_enough_and_io_uring_is_needed() {
    if !Program::under_test().takes_shards {
        return;
    }
    let scratch = Scratch::new("seccomp");
    let profile = root().join("configs/seccomp-io-uring.json");
    let under = |profile: &Path| {
        let mut command = Command::new("python3");
        command.arg(root().join("scripts/lib/with_seccomp.py")).arg(profile);
        command.arg(Program::under_test().path);
        command
    };
    let mut allowed = under(&profile);
    allowed.args(["--ports_file_dir", &scratch.0.display().to_string()]);
    serves(allowed, &scratch.0.display().to_string());

    let text = fs::read_to_string(&profile).expect("it can be read");
    let without = scratch.0.join("without.json");
    fs::write(&without, text.replace("io_uring_setup", "uselib")).expect("it can be written");
    let refused = under(&without).args(["-p", "-1"]).output().expect("python3 runs");
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && log.contains("io_uring"), "{log}");
}

#[test]
fn the_debian_package_holds_what_it_should() {
    if !Program::under_test().takes_shards {
        return;
    }
    let scratch = Scratch::new("deb");
    let share = scratch.0.join("share");
    generator::write(&share).expect("man page and completions");
    let mut build = Command::new(root().join("scripts/build-deb.sh"));
    build.arg(scratch.at("out")).env("RINGBUS_SHARE", &share);
    let package = run(build.env("RINGBUS_BIN", Program::under_test().path));
    let package = package.trim();
    let control = run(Command::new("dpkg-deb").args(["--info", package]));
    for text in ["Package: ringbus", "postinst", "conffiles", "Depends: libc6"] {
        assert!(control.contains(text), "{control}");
    }
    let inside = scratch.at("inside");
    run(Command::new("dpkg-deb").args(["--extract", package, &inside]));
    for name in [
        "usr/bin/ringbus",
        "etc/ringbus/ringbus.conf",
        "usr/lib/systemd/system/ringbus.service",
        "usr/share/man/man8/ringbus.8.gz",
        "usr/share/bash-completion/completions/ringbus",
        "usr/share/doc/ringbus/copyright",
    ] {
        assert!(Path::new(&inside).join(name).exists(), "{name}");
    }
    let unit = fs::read_to_string(format!("{inside}/usr/lib/systemd/system/ringbus.service"));
    assert!(
        unit.expect("a unit").contains("ExecStart=/usr/bin/ringbus -c /etc/ringbus/ringbus.conf")
    );
    let binary = format!("{inside}/usr/bin/ringbus");
    let valid = Command::new(&binary)
        .args(["-t", "-c", &format!("{inside}/etc/ringbus/ringbus.conf")])
        .output();
    assert!(valid.expect("it runs").status.success());
}

/// The files in a package, and nothing else but the libraries the binary names.
#[test]
fn the_debian_package_serves_where_it_is_unpacked() {
    if !Program::under_test().takes_shards {
        return;
    }
    let scratch = Scratch::new("deb-serves");
    let share = scratch.0.join("share");
    generator::write(&share).expect("man page and completions");
    let mut build = Command::new(root().join("scripts/build-deb.sh"));
    build.arg(scratch.at("out")).env("RINGBUS_SHARE", &share);
    let package = run(build.env("RINGBUS_BIN", Program::under_test().path));
    let inside = scratch.at("inside");
    run(Command::new("dpkg-deb").args(["--extract", package.trim(), &inside]));
    fs::create_dir_all(format!("{inside}/tmp")).expect("a directory");
    let needed = run(Command::new("ldd").arg(format!("{inside}/usr/bin/ringbus")));
    for library in needed.split_whitespace().filter(|word| word.starts_with('/')) {
        let there = format!("{inside}{library}");
        fs::create_dir_all(Path::new(&there).parent().expect("a parent")).expect("a directory");
        fs::copy(library, &there).expect("a library");
    }
    serves_from(&inside, &["-c", "/etc/ringbus/ringbus.conf"]);
    let control = scratch.at("control");
    run(Command::new("dpkg-deb").args(["--control", package.trim(), &control]));
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").args(["-n", &format!("{control}/{script}")]));
    }
    let page = scratch.at("ringbus.8");
    fs::write(&page, run(Command::new("gzip").args(["-dc", &format!("{inside}{MAN}")]))).unwrap();
    if let Ok(shown) = Command::new("man").args(["--warnings", "-l", &page]).output() {
        let text = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
        assert!(text.contains("ringbus") && text.contains("--http_port"), "{text}");
    }
}

const MAN: &str = "/usr/share/man/man8/ringbus.8.gz";

/// Needs systemd-analyze, of the package systemd; without it nothing is looked at.
#[test]
fn the_unit_is_understood_and_its_system_calls_are_enough() {
    let program = Program::under_test();
    if !program.takes_shards || Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let scratch = Scratch::new("unit");
    let unit = fs::read_to_string(root().join("configs/ringbus.service")).expect("a unit");
    let binary = program.path.display().to_string();
    let path = scratch.at("ringbus.service");
    fs::write(&path, unit.replace("/usr/local/bin/ringbus", &binary)).expect("a file");
    run(Command::new("systemd-analyze").args(["verify", "--man=no", &path]));

    // What its filter lets through, as a profile for the same helper as above.
    let mut allowed: Vec<String> = Vec::new();
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (line, taken) = match line.strip_prefix('~') {
            Some(line) => (line, true),
            None => (line, false),
        };
        for name in line.split_whitespace().flat_map(system_calls) {
            allowed.retain(|known| *known != name);
            if !taken {
                allowed.push(name);
            }
        }
    }
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [{ "action": "SCMP_ACT_ALLOW", "names": allowed }],
    });
    let path = scratch.at("profile.json");
    fs::write(&path, profile.to_string()).expect("a file");
    let mut command = Command::new("python3");
    command.arg(root().join("scripts/lib/with_seccomp.py")).arg(path).arg(&program.path);
    command.args(["--ports_file_dir", &scratch.0.display().to_string()]);
    serves(command, &scratch.0.display().to_string());
}

/// A system call, or those of a group.
fn system_calls(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_string()];
    }
    let told = run(Command::new("systemd-analyze").args(["syscall-filter", name]));
    let names = told.lines().skip(1).map(str::trim).filter(|line| !line.starts_with('#'));
    names.filter(|line| !line.is_empty()).flat_map(system_calls).collect()
}

/// Under a systemd of its own, in a box that nothing gets out of: only where somebody asks for it,
/// since it makes namespaces as root.
#[test]
fn the_unit_starts_reloads_and_stops_under_systemd() {
    let program = Program::under_test();
    if !program.takes_shards {
        return;
    }
    if std::env::var_os("RINGBUS_TRY_UNIT").is_none() {
        return println!("skipped: set RINGBUS_TRY_UNIT=1 to run the unit under a systemd");
    }
    let mut script = Command::new(root().join("scripts/try-unit.sh"));
    let tried = script.arg(&program.path).output().expect("the script starts");
    let said = String::from_utf8_lossy(&tried.stdout);
    if tried.status.code() == Some(77) {
        return println!("{said}");
    }
    assert!(tried.status.success(), "{said}{}", String::from_utf8_lossy(&tried.stderr));
    for word in ["started and ready", "reloaded", "stopped"] {
        assert!(said.lines().any(|line| line.starts_with(word)), "{word} in {said}");
    }
}

#[test]
fn tuning_shows_before_it_changes() {
    let scratch = Scratch::new("tune");
    let somaxconn = scratch.0.join("proc/sys/net/core/somaxconn");
    let disabled = scratch.0.join("proc/sys/kernel/io_uring_disabled");
    for (path, value) in [(&somaxconn, "128\n"), (&disabled, "2\n")] {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, value).expect("a file");
    }
    let tune = |argument: &[&str]| {
        let mut tune = Command::new(root().join("scripts/tune-host.sh"));
        run(tune.args(argument).env("TUNE_HOST_ROOT", &scratch.0))
    };
    let shown = tune(&[]);
    assert!(shown.contains("128 -> 4096"), "{shown}");
    assert!(shown.contains("2 to change"), "{shown}");
    assert_eq!(fs::read_to_string(&somaxconn).expect("it is there"), "128\n", "only shown");
    let changed = tune(&["--apply"]);
    assert!(changed.contains("changed kernel.io_uring_disabled"), "{changed}");
    assert_eq!(fs::read_to_string(&somaxconn).expect("it is there"), "4096\n");
    assert_eq!(fs::read_to_string(&disabled).expect("it is there"), "0\n");
    assert!(tune(&[]).contains("Nothing to change"));
    assert!(tune(&["--print"]).contains("net.core.somaxconn = 4096"));
}
