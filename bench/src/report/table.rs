//! The table a terminal shows.

use super::{bytes, micros, short, three};
use crate::results::{Report, Row, ScenarioResult};
use crate::scenario::Unit;
use crate::stats::Spread;
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
        let widths: Vec<usize> = (0..HEAD.len())
            .map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0))
            .collect();
        for line in &lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let fill = " ".repeat(width - cell.chars().count());
                let _ = match column {
                    0 => write!(out, "  {cell}{fill}"),
                    _ => write!(out, "  {fill}{cell}"),
                };
            }
            let _ = writeln!(out);
        }
    }
    let _ = writeln!(
        out,
        "\ncheaper, faster: times better than {}, run by run (least–greatest). \
         Marks: g the generator was over 80 % busy, n others used over 15 % of a core, \
         ! not every message came exactly once.",
        report.reference
    );
    for trouble in report.troubles() {
        let _ = writeln!(out, "! {trouble}");
    }
    out
}

fn cells(report: &Report, scenario: &ScenarioResult, row: &Row) -> [String; 9] {
    let mut cells: [String; 9] = Default::default();
    let marks = row.marks();
    cells[0] =
        if marks.is_empty() { row.server.clone() } else { format!("{} {marks}", row.server) };
    let Some(summary) = &row.summary else {
        cells[1] = if row.skipped { "n/a".into() } else { "failed".into() };
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
