//! Results for people: a table for the terminal, a page for the browser.

pub mod html;
pub mod table;

use crate::results::Report;

/// What it was measured on.
pub fn machine(report: &Report) -> String {
    let own = report.congestion.iter();
    let own = own.map(|name| format!(" ({name} on the generator's sockets and the floor's)"));
    format!("{}{}", report.machine, own.collect::<String>())
}

/// Large numbers short: `4.61 M`, `58.8 k`, `312`.
pub fn short(value: f64) -> String {
    let (scaled, suffix) = match value {
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e4 => (v / 1e3, " k"),
        v => (v, ""),
    };
    format!("{}{suffix}", three(scaled))
}

/// About three digits, without an exponent.
pub fn three(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// µs, or ms from ten thousand up.
pub fn micros(value: f64) -> String {
    if value >= 10_000.0 { format!("{} ms", three(value / 1e3)) } else { format!("{value:.0} µs") }
}

/// Bytes in the unit that suits them.
pub fn bytes(value: f64) -> String {
    match value {
        v if v >= 1048576.0 => format!("{} MiB", three(v / 1048576.0)),
        v if v >= 1024.0 => format!("{} KiB", three(v / 1024.0)),
        v => format!("{v:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(4_612_345.0), "4.61 M");
        assert_eq!(short(58_800.0), "58.8 k");
        assert_eq!(short(312.4), "312");
        assert_eq!(three(0.0417), "0.042");
        assert_eq!(micros(95.4), "95 µs");
        assert_eq!(micros(16_400.0), "16.4 ms");
        assert_eq!(bytes(43_000.0), "42.0 KiB");
    }
}
