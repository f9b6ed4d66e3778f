//! One page that needs nothing but itself.

use super::table::{reference, times};
use super::{bytes, machine, micros, short, three};
use crate::results::{Report, Row, ScenarioResult};
use crate::scenario::Unit;
use crate::target::judge;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const BAR_ROOM: f64 = 420.0;
const LABEL_ROOM: f64 = 110.0;

/// The whole report as an HTML document.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let title = format!("{} – {}", escape(&report.name), report.date);
    // Writing into a String can't fail, here and below.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>\n{}",
        preface(report)
    );
    targets(&mut out, report);
    let mut group = "";
    for scenario in &report.scenarios {
        if scenario.group != group {
            group = &scenario.group;
            let _ = writeln!(out, "<h2>{}</h2>", escape(group));
        }
        section(&mut out, report, scenario);
    }
    let troubles = report.troubles();
    if !troubles.is_empty() {
        let _ = write!(out, "<h2>Not as it should be</h2><ul>");
        for trouble in troubles {
            let _ = write!(out, "<li>{}</li>", escape(&trouble));
        }
        let _ = write!(out, "</ul>");
    }
    out.push_str("</main></body></html>\n");
    out
}

fn preface(report: &Report) -> String {
    let servers: Vec<String> = report
        .servers
        .iter()
        .map(|(name, version)| format!("<b>{}</b> {}", escape(name), escape(version)))
        .collect();
    let cores = if report.shared_cores { "the same cores" } else { "cores of its own" };
    format!(
        "<p>{}. Server on {} core(s), generator on {} thread(s) \
         on {cores}; medians of {} interleaved runs. {}.</p>\
         <p>CPU is server CPU-seconds per million (µs each). “Cheaper” and “faster” are against \
         {}, paired run by run, with the least and the greatest in brackets. Latency is counted \
         from the moment a message was meant to be sent. Marks: <b>g</b> the generator was over \
         80 % busy (read CPU there, not rate), <b>n</b> other programs used over 15 % of a core, \
         <b>s</b> a run was left out because the generator stood still, <b>?</b> most runs were \
         (do not rely on the figures), <b>!</b> not every message owed came exactly once, or none \
         in a measure.</p>\n",
        escape(&machine(report)),
        report.server_cores,
        report.generator_cores,
        report.runs,
        servers.join(", "),
        escape(reference(report)),
    )
}

/// Every row beside its targets.
fn targets(out: &mut String, report: &Report) {
    let judged: Vec<_> = report
        .scenarios
        .iter()
        .map(|s| (s, judge(report, s)))
        .filter(|(_, v)| !v.is_empty())
        .collect();
    if judged.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "<h2>Against the targets</h2><table class=\"targets\"><tr><th>row<th>figure<th>found\
         <th>target<th></tr>"
    );
    for (scenario, verdicts) in judged {
        for (at, verdict) in verdicts.iter().enumerate() {
            let row = match at {
                0 => format!("<a href=\"#{}\">{}</a>", scenario.name, escape(&scenario.title)),
                _ => String::new(),
            };
            let word = verdict.word();
            let _ = writeln!(
                out,
                "<tr class=\"{}\"><td>{row}<td>{}<td>{}<td>{}<td>{word}</tr>",
                word.replace(' ', "-"),
                escape(&verdict.what),
                escape(&verdict.found),
                escape(&verdict.bound),
            );
        }
    }
    let _ = writeln!(out, "</table>");
}

fn section(out: &mut String, report: &Report, scenario: &ScenarioResult) {
    let _ =
        writeln!(out, "<section id=\"{0}\"><h3>{1}</h3>", scenario.name, escape(&scenario.title));
    let _ = write!(out, "<div class=\"charts\">");
    let what = match scenario.unit {
        Unit::Held => "memory per connection",
        _ => "CPU-seconds per million (shorter is better)",
    };
    let cost = |row: &Row| {
        let summary = row.summary.as_ref()?;
        match (scenario.unit, summary.memory_per_connection) {
            (Unit::Held, Some(each)) => Some((each.median, bytes(each.median))),
            (Unit::Held, None) => None,
            _ => Some((summary.cpu_s_per_million.median, three(summary.cpu_s_per_million.median))),
        }
    };
    chart(out, what, scenario, cost);
    if !scenario.paced && scenario.unit != Unit::Held {
        let rate = |row: &Row| {
            let median = row.summary.as_ref()?.per_second.median;
            Some((median, short(median)))
        };
        let noun = scenario.unit.noun();
        chart(out, &format!("{noun} per second (longer is better)"), scenario, rate);
    } else {
        let p99 = |row: &Row| {
            let latency = row.summary.as_ref()?.latency?;
            Some((latency.p99_us, micros(latency.p99_us)))
        };
        chart(out, "p99 latency (shorter is better)", scenario, p99);
    }
    let _ = writeln!(out, "</div>");
    rows(out, report, scenario);
    let _ = writeln!(out, "</section>");
}

/// Horizontal bars, one a server, on one scale from zero.
fn chart(
    out: &mut String,
    title: &str,
    scenario: &ScenarioResult,
    value: impl Fn(&Row) -> Option<(f64, String)>,
) {
    let bars: Vec<(&str, f64, String)> = scenario
        .rows
        .iter()
        .filter_map(|row| value(row).map(|(v, text)| (row.server.as_str(), v, text)))
        .collect();
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    if most <= 0.0 {
        return;
    }
    let (width, height) = (LABEL_ROOM + BAR_ROOM + 90.0, bars.len() * 26 + 4);
    let _ = write!(
        out,
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {width} {height}\" role=\"img\">",
        escape(title)
    );
    for (i, (server, value, text)) in bars.iter().enumerate() {
        let length = (value / most * BAR_ROOM).max(1.0);
        let y = i * 26 + 2;
        let _ = write!(
            out,
            "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{}\" x=\"{LABEL_ROOM}\" y=\"{y}\" width=\"{length:.1}\" height=\"20\" \
             rx=\"2\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            LABEL_ROOM - 8.0,
            y + 15,
            escape(server),
            if *server == "ringbus" { "ours" } else { "theirs" },
            LABEL_ROOM + length + 6.0,
            y + 15,
            escape(text),
        );
    }
    let _ = write!(out, "</svg></figure>");
}

fn rows(out: &mut String, report: &Report, scenario: &ScenarioResult) {
    let _ = writeln!(
        out,
        "<table><tr><th>server<th>{} per second<th>CPU-s/M<th>memory<th>p50<th>p99<th>p99.9\
         <th>max<th>cheaper<th>faster<th>generator</tr>",
        scenario.unit.noun()
    );
    for row in &scenario.rows {
        let mut cells = vec![format!("{} <b>{}</b>", escape(&row.server), row.marks())];
        match &row.summary {
            None => cells.push(if row.skipped { "n/a".into() } else { "failed".into() }),
            Some(summary) => {
                if scenario.unit == Unit::Held {
                    cells.extend([String::new(), String::new()]);
                } else {
                    cells.push(short(summary.per_second.median));
                    cells.push(three(summary.cpu_s_per_million.median));
                }
                cells.push(match summary.memory_per_connection {
                    Some(each) => format!("{} each", bytes(each.median)),
                    None => bytes(summary.memory_peak_bytes.median),
                });
                match summary.latency {
                    None => cells.extend(std::iter::repeat_n(String::new(), 4)),
                    Some(l) => {
                        let all = [l.p50_us, l.p99_us, l.p999_us, l.max_us];
                        cells.extend(all.map(micros));
                    }
                }
                let against = &report.reference;
                cells.push(scenario.cheaper(row, against).map(times).unwrap_or_default());
                cells.push(scenario.faster(row, against).map(times).unwrap_or_default());
                cells.push(format!("{:.0} %", summary.generator_busy * 100.0));
            }
        }
        let _ = writeln!(out, "<tr><td>{}</tr>", cells.join("<td>"));
    }
    let _ = writeln!(out, "</table>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_not_become_markup() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn the_style_refers_to_nothing_outside() {
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
