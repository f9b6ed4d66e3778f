//! The man page and the completions, made from what `ringbus -h` says.

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
