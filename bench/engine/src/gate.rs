//! The instruction gate: what each row costs must not creep up unnoticed.
//!
//! The baseline is a text file that belongs to the sources: whoever makes a row dearer on purpose
//! writes the file anew, and the change shows it.

use std::fmt::Write;
use std::path::Path;

use crate::count::{Counted, count_all, toolchain};
use crate::script::GATE;

/// A row may grow by this much.
const GROWTH_MAX: f64 = 1.03;
/// Another compiler, C library or valgrind counts a little differently.
const GROWTH_MAX_ELSEWHERE: f64 = 1.15;
/// A row that has shrunk by this much deserves a new baseline.
const SHRUNK: f64 = 0.97;

/// What the file says.
#[derive(Debug, Default, PartialEq)]
struct Baseline {
    toolchain: String,
    /// Name and instructions for each unit.
    rows: Vec<(String, f64)>,
}

/// Counts every row, prints old, new and ratio, and says whether all stayed within bounds.
///
/// # Errors
/// When the baseline can't be read or the rows can't be counted.
pub fn check(file: &Path) -> Result<bool, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let baseline = parse(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let now = Baseline { toolchain: toolchain(), rows: named(&count()?) };
    let (table, passed) = compare(&baseline, &now);
    print!("{table}");
    if !passed {
        println!(
            "If that is meant, write the baseline anew (make gate-baseline), and say why in the \
             commit that does."
        );
    }
    Ok(passed)
}

/// Counts every row and writes the baseline.
///
/// # Errors
/// When the rows can't be counted or the file can't be written.
pub fn update(file: &Path) -> Result<(), String> {
    let text = show(&toolchain(), &count()?);
    std::fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    println!("{} is written", file.display());
    Ok(())
}

fn count() -> Result<Vec<Counted>, String> {
    let wanted: Vec<_> = GATE.iter().map(|script| (script, script.shards)).collect();
    count_all(&wanted)
}

fn named(counted: &[Counted]) -> Vec<(String, f64)> {
    GATE.iter().zip(counted).map(|(script, c)| (script.name.to_string(), c.each())).collect()
}

fn show(toolchain: &str, counted: &[Counted]) -> String {
    let mut out = format!(
        "# Instructions of the engine for each delivery, publication or act: `make gate` compares, \
         `make gate-baseline` writes.\n# {toolchain}\n"
    );
    for (script, counted) in GATE.iter().zip(counted) {
        // Writing into a String can't fail, here and below.
        let _ = writeln!(
            out,
            "{:<14} {:>12.2}   # {}, for each {}",
            script.name,
            counted.each(),
            script.title,
            script.unit,
        );
    }
    out
}

fn parse(text: &str) -> Result<Baseline, String> {
    let mut baseline = Baseline::default();
    for (number, line) in text.lines().enumerate() {
        if let Some(comment) = line.strip_prefix('#') {
            // The last comment of its own line is the toolchain.
            baseline.toolchain = comment.trim().to_string();
            continue;
        }
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            [name, each] => {
                let each = each.parse().map_err(|_| format!("line {}: {each}?", number + 1))?;
                baseline.rows.push((name.to_string(), each));
            }
            _ => return Err(format!("line {}: a name and a number are wanted", number + 1)),
        }
    }
    Ok(baseline)
}

/// The table, and whether every row is within its bound.
fn compare(old: &Baseline, new: &Baseline) -> (String, bool) {
    let elsewhere = old.toolchain != new.toolchain;
    let bound = if elsewhere { GROWTH_MAX_ELSEWHERE } else { GROWTH_MAX };
    let mut out = String::new();
    if elsewhere {
        let _ = writeln!(
            out,
            "The baseline was counted with {}, these figures with {}: the bound is {:.0} %, \
             not {:.0} %.",
            old.toolchain,
            new.toolchain,
            (bound - 1.0) * 100.0,
            (GROWTH_MAX - 1.0) * 100.0,
        );
    }
    let _ = writeln!(out, "{:<14} {:>12} {:>12} {:>8}", "row", "baseline", "now", "ratio");
    let mut passed = true;
    for (name, now) in &new.rows {
        let Some((_, before)) = old.rows.iter().find(|(other, _)| other == name) else {
            let _ = writeln!(out, "{name:<14} {:>12} {now:>12.2} {:>8}  NEW", "-", "-");
            passed = false;
            continue;
        };
        let ratio = now / before;
        let verdict = match ratio {
            r if r > bound => "  TOO DEAR",
            r if r < SHRUNK => "  cheaper: worth a new baseline",
            _ => "",
        };
        passed &= ratio <= bound;
        let _ = writeln!(out, "{name:<14} {before:>12.2} {now:>12.2} {ratio:>8.3}{verdict}");
    }
    for (name, _) in &old.rows {
        if !new.rows.iter().any(|(other, _)| other == name) {
            let _ = writeln!(out, "{name}: in the baseline, but no row of that name is left");
            passed = false;
        }
    }
    (out, passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(toolchain: &str, rows: &[(&str, f64)]) -> Baseline {
        let rows = rows.iter().map(|(name, each)| ((*name).to_string(), *each)).collect();
        Baseline { toolchain: toolchain.into(), rows }
    }

    #[test]
    fn three_percent_more_is_too_dear() {
        let old = baseline("rustc 1", &[("a", 100.0), ("b", 10.0)]);
        let (table, passed) = compare(&old, &baseline("rustc 1", &[("a", 102.9), ("b", 5.0)]));
        assert!(passed && table.contains("cheaper"), "{table}");
        let (table, passed) = compare(&old, &baseline("rustc 1", &[("a", 103.1), ("b", 10.0)]));
        assert!(!passed && table.contains("TOO DEAR"), "{table}");
    }

    #[test]
    fn another_compiler_is_given_more_room_but_not_any() {
        let old = baseline("rustc 1", &[("a", 100.0)]);
        let (table, passed) = compare(&old, &baseline("rustc 2", &[("a", 110.0)]));
        assert!(passed && table.contains("rustc 2"), "{table}");
        assert!(!compare(&old, &baseline("rustc 2", &[("a", 116.0)])).1);
    }

    #[test]
    fn a_row_without_a_baseline_and_a_baseline_without_a_row_fail() {
        let old = baseline("x", &[("a", 100.0)]);
        assert!(!compare(&old, &baseline("x", &[("a", 100.0), ("b", 1.0)])).1);
        assert!(!compare(&old, &baseline("x", &[])).1);
    }

    #[test]
    fn the_file_is_read_as_it_is_written() {
        let text = "# how to\n# rustc 1, glibc 2\n# \nrow-1   12.50   # 1→0: 1250 for each x\n\n";
        let text = text.replace("# \n", "");
        let parsed = parse(&text).unwrap();
        assert_eq!(parsed, baseline("rustc 1, glibc 2", &[("row-1", 12.5)]));
        assert!(parse("a b c").is_err() && parse("a x").is_err());
    }
}
