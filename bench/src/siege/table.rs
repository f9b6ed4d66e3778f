//! What came of a siege, for people.

use std::fmt::Write;

use super::Row;

/// As Markdown.
pub fn markdown(rows: &[Row], machine: &str) -> String {
    let mut out = format!("{machine}\n\n");
    let _ = writeln!(
        out,
        "| attack | server | attackers were told | memory grew | CPU | p99 of healthy clients: \
         before → meanwhile (longest) | still up |\n|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.1} MiB | {:.2} s | {} → {} µs ({} µs) | {} |",
            row.does,
            row.server,
            told(row),
            row.grown_bytes as f64 / f64::from(1 << 20),
            row.cpu_s,
            row.p99_us.0,
            row.p99_us.1,
            row.longest_us,
            if row.survived { "yes" } else { "NO" }
        );
    }
    out
}

/// For a terminal.
pub fn text(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(
            out,
            "{:<22} {:<14} +{:>7.1} MiB  {:>6.2} s CPU  p99 {:>7} -> {:>7} us (max {:>8})  {}  {}",
            row.attack,
            row.server,
            row.grown_bytes as f64 / f64::from(1 << 20),
            row.cpu_s,
            row.p99_us.0,
            row.p99_us.1,
            row.longest_us,
            if row.survived { "up  " } else { "DOWN" },
            told(row)
        );
    }
    out
}

fn told(row: &Row) -> String {
    let parts: Vec<String> =
        row.told.iter().take(3).map(|(what, count)| format!("{count}× {what}")).collect();
    parts.join("; ")
}
