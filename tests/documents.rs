//! The man page and the completions, made from what `ringbus -h` says; and what the page on security
//! names.

use std::fs;
use std::process::Command;

use crate::harness::server::Program;

#[path = "../examples/documents.rs"]
#[expect(dead_code, reason = "its main is for the example")]
pub mod generator;

#[test]
fn every_flag_is_in_the_man_page_and_the_completions() {
    if !Program::under_test().takes_shards {
        return;
    }
    generator::command().debug_assert();
    let directory = std::env::temp_dir().join(format!("ringbus-documents-{}", std::process::id()));
    generator::write(&directory).expect("they can be written");
    let help = Command::new(Program::under_test().path).arg("-h").output().expect("it runs");
    let usage = String::from_utf8(help.stdout).expect("text");
    let usage = usage.split("Each flag takes").next().unwrap_or_default();
    let flags: Vec<&str> = usage
        .split([' ', ',', '\n', '=', ']', '[', ';'])
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .collect();
    assert!(flags.len() > 35, "{flags:?}");
    for name in ["ringbus.8", "ringbus.bash", "_ringbus", "ringbus.fish"] {
        let text = fs::read_to_string(directory.join(name)).expect("it was written");
        for flag in &flags {
            let bare = flag.trim_start_matches('-');
            // The man page writes its dashes as \-, fish leaves them out.
            let shown = text.contains(bare) || text.contains(&bare.replace('-', "\\-"));
            assert!(shown, "{name} lacks {flag}");
        }
    }
    let completes = format!(
        "source {}/ringbus.bash; COMP_WORDS=(ringbus --http); COMP_CWORD=1; \
         _ringbus ringbus --http ringbus; echo \"${{COMPREPLY[@]}}\"",
        directory.display()
    );
    let output = Command::new("bash").args(["-c", &completes]).output().expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.split_whitespace().any(|word| word == "--http_port"), "{text:?} {output:?}");
    let _ = fs::remove_dir_all(&directory);
}

/// Names of functions, files and directories of sources, and of scripts.
fn names_of_proofs(directory: &std::path::Path, names: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_string();
        if path.is_dir() {
            names_of_proofs(&path, names);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).expect("text");
            let functions = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            let until = |line: &str| line.split(['(', '<']).next().unwrap_or_default().to_string();
            names.extend(functions.map(until));
        }
        names.push(stem);
    }
}

/// The numbers of notes in the table's second column: `2026-16 (...)`, `2026-03 (...), 04, 10`.
fn notes_of_2026(table: &str) -> Vec<u32> {
    let cell = |row: &str| row.split(" | ").nth(1).unwrap_or_default().to_string();
    let cells = table.lines().filter(|line| line.starts_with("| ")).map(cell);
    let mut numbers = Vec::new();
    for cell in cells.filter(|cell| cell.contains("2026-")) {
        let words = cell.split([' ', ',', '(', ')', ';']);
        let bare = words.map(|word| word.trim_start_matches("2026-"));
        let two_digits = bare.filter(|word| word.len() == 2);
        numbers.extend(two_digits.filter_map(|word| word.parse::<u32>().ok()));
    }
    numbers
}

#[test]
fn what_the_page_on_security_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    for directory in ["shards", "src", "tests"] {
        names_of_proofs(&root.join(directory), &mut names);
    }
    let page = fs::read_to_string(root.join("docs/security.md")).expect("the page");
    let table = page.split("\n## The classes").nth(1).and_then(|rest| rest.split("\n## ").next());
    let table = table.expect("a table");
    let lacks = |number: &u32| !notes_of_2026(table).contains(number);
    assert_eq!((2..=28).filter(lacks).collect::<Vec<_>>(), [0_u32; 0], "notes of 2026 it lacks");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut count = 0;
    for row in rows {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        for name in shown_by.split('`').skip(1).step_by(2) {
            let last = name.rsplit("::").next().unwrap_or_default();
            let found = match last.split_once('*') {
                Some((start, _)) => names.iter().any(|name| name.starts_with(start)),
                None => names.iter().any(|name| name == last),
            };
            assert!(found, "docs/security.md names `{name}`, and there is no such proof");
            count += 1;
        }
        let is_said = shown_by.contains('`') || shown_by.starts_with("owed");
        assert!(is_said, "docs/security.md shows nothing: {row}");
    }
    assert!(count > 20, "{count}");
}
