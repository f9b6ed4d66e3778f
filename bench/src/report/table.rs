//! The table a terminal shows.

use super::{bytes, machine, micros, short, three};
use crate::results::{Report, Row, ScenarioResult};
use crate::scenario::Unit;
use crate::stats::Spread;
use crate::target::judge;
use std::fmt::Write;

const HEAD: [&str; 9] =
    ["server", "per second", "CPU-s/M", "memory", "p50", "p99", "p99.9", "max", "cheaper, faster"];

/// The whole report as text.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    for scenario in &report.scenarios {
        // Writing into a String can't fail.
        let _ =
            writeln!(out, "\n{}  [{}; {}]", scenario.title, scenario.name, scenario.unit.noun());
        let mut lines = vec![HEAD.map(String::from)];
        lines.extend(scenario.rows.iter().map(|row| cells(report, scenario, row)));
        out.push_str(&aligned(&lines, |column| column > 0));
    }
    out.push_str(&targets(report));
    let _ = writeln!(
        out,
        "\ncheaper, faster: times better than {}, run by run (least–greatest). \
         Marks: g the generator was over 80 % busy, n others used over 15 % of a core, \
         s a run was left out because the generator stood still, ? most runs were, \
         ! not every message came exactly once, or none in a measure.",
        reference(report)
    );
    let _ = writeln!(out, "{}", machine(report));
    for trouble in report.troubles() {
        let _ = writeln!(out, "! {trouble}");
    }
    out
}

/// How a reader is told what the others are compared with.
pub fn reference(report: &Report) -> &str {
    match report.reference.as_str() {
        "nats" => "the better nats-server",
        name => name,
    }
}

/// Every row beside its targets.
fn targets(report: &Report) -> String {
    let mut lines: Vec<[String; 5]> = Vec::new();
    for scenario in &report.scenarios {
        for (at, verdict) in judge(report, scenario).into_iter().enumerate() {
            let title = if at == 0 { scenario.title.clone() } else { String::new() };
            let word = verdict.word().to_string();
            lines.push([title, verdict.what, verdict.found, verdict.bound, word]);
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    lines.insert(0, ["row", "figure", "found", "target", ""].map(String::from));
    let mut out = String::from("\nAgainst the targets\n");
    out.push_str(&aligned(&lines, |_| false));
    let count = |word: &str| lines.iter().filter(|line| line[4] == word).count();
    // Writing into a String can't fail.
    let _ = writeln!(out, "{} met, {} missed", count("met"), count("missed"));
    out
}

/// Lines of cells as columns; `right` says which ones stand at their right edge.
fn aligned<const N: usize>(lines: &[[String; N]], right: impl Fn(usize) -> bool) -> String {
    let widths: Vec<usize> =
        (0..N).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let fill = " ".repeat(width - cell.chars().count());
            row += &match right(column) {
                true => format!("  {fill}{cell}"),
                false => format!("  {cell}{fill}"),
            };
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out
}

fn cells(report: &Report, scenario: &ScenarioResult, row: &Row) -> [String; 9] {
    let mut cells: [String; 9] = Default::default();
    let marks = row.marks();
    cells[0] =
        if marks.is_empty() { row.server.clone() } else { format!("{} {marks}", row.server) };
    let Some(summary) = &row.summary else {
        cells[1] = row.blank().into();
        return cells;
    };
    if scenario.unit != Unit::Held {
        cells[1] = short(summary.per_second.median);
        cells[2] = three(summary.cpu_s_per_million.median);
    }
    cells[3] = match summary.memory_per_connection {
        Some(each) => format!("{} each", bytes(each.median)),
        None => bytes(summary.memory_peak_bytes.median),
    };
    if let Some(latency) = summary.latency {
        let all = [latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us];
        for (cell, value) in cells[4..8].iter_mut().zip(all) {
            *cell = micros(value);
        }
    }
    let times = |spread: Option<Spread>| spread.map(times);
    let both = [
        times(scenario.cheaper(row, &report.reference)),
        times(scenario.faster(row, &report.reference)),
    ];
    cells[8] = both.into_iter().flatten().collect::<Vec<_>>().join(", ");
    cells
}

/// `7.6× (6.5–8.2)`.
pub fn times(spread: Spread) -> String {
    format!("{}× ({}–{})", three(spread.median), three(spread.min), three(spread.max))
}
