//! The house rules that a machine can check. Each failure names the place and the rule.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 1000;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Who may import whom among our crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("ringbus", &["runtime"]),
    ("ringbus-bench", &[]),
    ("ringbus-claims", &["subject"]),
    ("ringbus-engine-bench", &["mesh", "shard", "subject", "wire"]),
    ("ringbus-mesh", &[]),
    ("ringbus-monitor", &["shard"]),
    ("ringbus-runtime", &["claims", "mesh", "monitor", "shard"]),
    ("ringbus-shard", &["subject", "wire"]),
    ("ringbus-sim", &["mesh", "shard", "subject", "wire"]),
    ("ringbus-subject", &[]),
    ("ringbus-wire", &[]),
];

/// Words that have no place in a room that does no I/O.
const SANS_IO: &[&str] = &[
    "glommio::",
    "io_uring::",
    "libc::",
    "rustls::",
    "std::fs",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "Instant::now",
    "SystemTime",
    "Mutex",
    "RwLock",
    "RandomState",
    "async fn",
    ".await",
];
const SANS_IO_ROOMS: &[&str] = &["wire", "subject", "shard", "monitor", "claims"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && !name.starts_with("target") {
            files_under(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for dir in ["src", "shards", "bench", "tests"] {
        files_under(&root().join(dir), ".rs", &mut found);
    }
    found.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("under the root").display().to_string();
        (name, fs::read_to_string(path).expect("a readable source"))
    };
    found.iter().map(read).collect()
}

fn report(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn crates_import_only_along_the_arrows() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut manifests = Vec::new();
    files_under(&root(), "Cargo.toml", &mut manifests);
    let mut faults = Vec::new();
    for manifest in manifests {
        let text = fs::read_to_string(&manifest).expect("a manifest");
        let table: toml::Table = text.parse().expect("a manifest in TOML");
        let name = table["package"]["name"].as_str().expect("a name").to_string();
        let Some(arrows) = allowed.get(name.as_str()) else {
            faults.push(format!("{name}: not in the drawing of who imports whom"));
            continue;
        };
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = table.get(section).and_then(|t| t.as_table()) else {
                continue;
            };
            for (alias, dependency) in dependencies {
                let ours = dependency.get("package").and_then(|p| p.as_str()).unwrap_or(alias);
                let Some(room) = ours.strip_prefix("ringbus-") else { continue };
                if section == "dependencies" && !arrows.contains(&room) {
                    faults.push(format!("{name} imports {room}: not along an arrow"));
                }
            }
        }
    }
    report(faults);
}

#[test]
fn rooms_without_io_have_none() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let room = |room: &&&str| file.starts_with(&format!("shards/{room}/src"));
        if !SANS_IO_ROOMS.iter().any(|name| room(&name)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in SANS_IO.iter().filter(|word| code.contains(**word)) {
                faults.push(format!("{file}:{}: `{word}` in a room without I/O", number + 1));
            }
        }
    }
    report(faults);
}

#[test]
fn unsafe_stays_in_its_rooms() {
    const ROOMS: [&str; 3] = ["shards/mesh/", "shards/runtime/", "bench/src/sys.rs"];
    let mut faults = Vec::new();
    for (file, text) in sources() {
        if ROOMS.iter().any(|room| file.starts_with(room)) || file == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if code.contains("unsafe {")
                || code.contains("unsafe fn")
                || code.contains("unsafe impl")
            {
                faults.push(format!("{file}:{}: unsafe outside of mesh and runtime", number + 1));
            }
        }
    }
    report(faults);
}

#[test]
fn files_and_functions_stay_small() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > LINES_MAX {
            faults.push(format!("{file}: {} lines, {LINES_MAX} is the wall", lines.len()));
        }
        for (number, line) in lines.iter().enumerate() {
            if line.chars().count() > COLUMNS_MAX
                && !line.contains("://")
                && !file.contains("tests/")
            {
                faults.push(format!("{file}:{}: over {COLUMNS_MAX} columns", number + 1));
            }
        }
        for (start, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                faults.push(format!("{file}:{}: a function of {length} lines", start + 1));
            }
        }
    }
    report(faults);
}

/// First line and length of each function, told by rustfmt's indentation.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words = ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn ", "const fn "];
        if !words.iter().any(|word| code.starts_with(word))
            || line.ends_with(';')
            || line.ends_with('}')
        {
            continue;
        }
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| **line == closing) {
            found.push((start, length + 1));
        }
    }
    found
}

#[test]
fn every_room_says_what_it_is() {
    let mut faults = Vec::new();
    for entry in fs::read_dir(root().join("shards")).expect("shards").flatten() {
        if entry.path().is_dir() && !entry.path().join("README.md").exists() {
            faults.push(format!("{}: no README.md", entry.path().display()));
        }
    }
    for dir in ["shards", "bench"] {
        if !root().join(dir).join("README.md").exists() {
            faults.push(format!("{dir}: no README.md"));
        }
    }
    report(faults);
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "#[ignore"];
    let mut faults = Vec::new();
    for (file, text) in sources() {
        if file == "tests/tidy.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{file}:{}: {word}", number + 1));
            }
        }
    }
    report(faults);
}

#[test]
fn documents_have_one_title() {
    let mut found = Vec::new();
    files_under(&root(), ".md", &mut found);
    let mut faults = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).expect("a document");
        let mut fenced = false;
        let mut titles = 0;
        for line in text.lines() {
            fenced ^= line.starts_with("```");
            titles += usize::from(!fenced && line.starts_with("# "));
        }
        if titles != 1 {
            faults.push(format!("{}: {titles} titles", path.display()));
        }
    }
    report(faults);
}
