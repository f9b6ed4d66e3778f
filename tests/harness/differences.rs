//! `tests/differences.toml`: where the server under test is meant to answer otherwise, and why.

use std::path::Path;

use super::player::Transcript;

#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// A script's name, or `*`.
    pub script: String,
    /// The reference's line, as scripts show it.
    pub reference: String,
    /// Ours in its place; empty: nothing.
    pub ours: String,
    pub reason: String,
}

/// Reads the file: `[[difference]]` tables of the four strings above, each on a line of its own.
pub fn load() -> Result<Vec<Difference>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differences.toml");
    let source = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let found = parse(&source)?;
    for one in &found {
        if one.script.is_empty() || one.reference.is_empty() || one.reason.is_empty() {
            return Err(format!("a difference needs script, reference and reason: {one:?}"));
        }
    }
    Ok(found)
}

fn parse(source: &str) -> Result<Vec<Difference>, String> {
    let mut found: Vec<Difference> = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[difference]]" {
            found.push(Difference::default());
            continue;
        }
        let (key, value) = line.split_once(" = ").ok_or_else(|| format!("what is `{line}`?"))?;
        let value = literal(value).ok_or_else(|| format!("`{key}` must be a literal string"))?;
        let last = found.last_mut().ok_or("a key before the first [[difference]]")?;
        match key {
            "script" => last.script = value,
            "reference" => last.reference = value,
            "ours" => last.ours = value,
            "reason" => last.reason = value,
            _ => return Err(format!("unknown key `{key}`")),
        }
    }
    Ok(found)
}

/// TOML's literal strings: `'…'`, or `'''…'''` for a line that holds a quote.
fn literal(value: &str) -> Option<String> {
    let inner = |mark: &str| value.strip_prefix(mark).and_then(|v| v.strip_suffix(mark));
    inner("'''").or_else(|| inner("'")).map(str::to_string)
}

/// What ours must answer where the reference answers `wanted`; `used` counts how often each entry
/// applied.
pub fn apply(
    list: &[Difference],
    script: &str,
    wanted: &Transcript,
    used: &mut [usize],
) -> Transcript {
    let mut ours = wanted.clone();
    for (at, one) in list.iter().enumerate() {
        if one.script != "*" && one.script != script {
            continue;
        }
        for lines in ours.acts.iter_mut().chain(&mut ours.groups) {
            used[at] += replace(lines, one);
        }
        for (_, line) in &mut ours.rest {
            if *line == one.reference {
                line.clone_from(&one.ours);
                used[at] += 1;
            }
        }
    }
    ours.rest.retain(|(_, line)| !line.is_empty());
    ours
}

fn replace(lines: &mut Vec<String>, one: &Difference) -> usize {
    let mut count = 0;
    for line in lines.iter_mut().filter(|line| **line == one.reference) {
        line.clone_from(&one.ours);
        count += 1;
    }
    lines.retain(|line| !line.is_empty());
    count
}

#[test]
fn a_difference_changes_only_its_own_line() {
    let list = parse("[[difference]]\nscript = 'x'\nreference = 'B'\nours = ''\nreason = 'r'\n")
        .expect("it parses");
    let acts = vec![vec!["A".to_string(), "B".to_string()]];
    let wanted = Transcript { acts, groups: vec![], rest: vec![("a".into(), "B".into())] };
    let mut used = [0];
    let ours = apply(&list, "x", &wanted, &mut used);
    assert_eq!((ours.acts, ours.rest, used), (vec![vec!["A".to_string()]], vec![], [2]));
    assert_eq!(apply(&list, "y", &wanted, &mut used), wanted);
    assert!(parse("script = 'x'").is_err());
}
