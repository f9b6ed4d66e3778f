//! Each configuration that both servers are asked about, and the shipped ones, said again in TOML:
//! the same digest, the same settings, the same complaints.

use std::fmt::Write;
use std::path::Path;

use super::conf::parse_text;
use super::value::{Data, Map, Value};
use super::{digest, schema, toml};

#[path = "../../tests/configs/table.rs"]
mod table;

/// In the order of the file.
fn entries(map: &Map) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(_, value)| (value.at.line, value.at.column));
    entries
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' | '\x7f' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn twin_of(out: &mut String, value: &Value) {
    match &value.data {
        Data::Text(text) => quoted(out, text),
        Data::Date(date) => out.push_str(date),
        Data::Integer(number) => drop(write!(out, "{number}")),
        Data::Float(number) => drop(write!(out, "{number:?}")),
        Data::Bool(flag) => drop(write!(out, "{flag}")),
        Data::Array(items) => {
            out.push('[');
            for item in items.iter() {
                twin_of(out, item);
                out.push(',');
            }
            out.push(']');
        }
        Data::Map(map) => {
            out.push('{');
            for (at, (key, value)) in entries(map).into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                quoted(out, key);
                out.push('=');
                twin_of(out, value);
            }
            out.push('}');
        }
    }
}

fn twin(map: &Map) -> String {
    let mut out = String::new();
    for (key, value) in entries(map) {
        quoted(&mut out, key);
        out.push('=');
        twin_of(&mut out, value);
        out.push('\n');
    }
    out
}

/// TOML has no variables, so a value that is there for others to refer to is a mistake there.
fn without_variables(map: &mut Map) {
    map.retain(|_, value| !value.referenced.get());
}

fn assert_twins(path: &Path, conf: &str) -> bool {
    let name = format!("{}: {conf}", path.display());
    let variable = |name: &str| (name == "CASE_PORT").then(|| "4299".to_string());
    let Ok(mut map) = parse_text(path, conf, &variable) else { return false };
    without_variables(&mut map);
    let text = twin(&map);
    let again = toml::parse_text(Path::new("t.toml"), &text)
        .unwrap_or_else(|fault| panic!("{name}: {fault}\n{text}"));
    assert_eq!(digest::digest(&again), digest::digest(&map), "{name}:\n{text}");
    let (said, repeated) = (schema::read(&map), schema::read(&again));
    let messages = |findings: &schema::Findings| {
        let faults = findings.errors.iter().chain(&findings.warnings);
        faults.map(|fault| fault.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(messages(&repeated), messages(&said), "{name}:\n{text}");
    // Every complaint names a place.
    assert!(repeated.errors.iter().all(|fault| fault.at.is_some()), "{name}");
    said.errors.is_empty()
}

#[test]
fn whatever_a_conf_says_toml_says_as_well() {
    let valid =
        table::CASES.iter().filter(|(text, _)| assert_twins(Path::new("t.conf"), text)).count();
    assert!(valid > 200, "{valid} of {} are valid", table::CASES.len());
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let files = std::fs::read_dir(directory).expect("the configurations are there");
    for file in files.flatten().filter(|file| file.path().extension().is_some_and(|e| e == "conf"))
    {
        let text = std::fs::read_to_string(file.path()).expect("it can be read");
        // Some name files that are not there.
        assert_twins(&file.path(), &text);
    }
}
