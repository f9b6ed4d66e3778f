//! `engine-bench`: what the engine costs without sockets, in instructions and ring traffic.

use std::path::Path;
use std::process::ExitCode;

use rig::count::{count_all, show_played};
use rig::gate;
use rig::script::{ACROSS, GATE, Script};

const USAGE: &str = "usage: engine-bench gate FILE | baseline FILE | across [ROW...] | \
    play ROW SHARDS";
/// How many shards a message may find itself among.
const SHARDS: [usize; 4] = [1, 2, 4, 8];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["gate", file] => gate::check(Path::new(file)),
        ["baseline", file] => gate::update(Path::new(file)).map(|()| true),
        ["across", ref rows @ ..] => across(rows).map(|()| true),
        ["play", row, shards] => play(row, shards).map(|()| true),
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("engine-bench: {e}");
            ExitCode::from(2)
        }
    }
}

/// What callgrind is put over: one row, by itself. Prints what came of it.
fn play(row: &str, shards: &str) -> Result<(), String> {
    let mut all = GATE.iter().chain(ACROSS);
    let script = all.find(|script| script.name == row).ok_or_else(|| format!("no row {row}"))?;
    let shards = shards.parse().map_err(|_| format!("{shards} shards?"))?;
    let played = script.play(&mut script.scene(shards), script.rounds);
    println!("{}", show_played(&played));
    Ok(())
}

/// Instructions and ring traffic for each delivery, on 1, 2, 4 and 8 shards.
fn across(rows: &[&str]) -> Result<(), String> {
    let chosen: Vec<&Script> =
        ACROSS.iter().filter(|row| rows.is_empty() || rows.contains(&row.name)).collect();
    let wanted: Vec<(&Script, usize)> =
        chosen.iter().flat_map(|script| SHARDS.map(|shards| (*script, shards))).collect();
    let counted = count_all(&wanted)?;
    println!(
        "{:<42} {:>6} {:>13} {:>8} {:>8} {:>9} {:>9} {:>8}",
        "for each delivery",
        "shards",
        "instructions",
        "ratio",
        "frames",
        "batches",
        "bytes",
        "writes"
    );
    for (rows, counted) in wanted.chunks(SHARDS.len()).zip(counted.chunks(SHARDS.len())) {
        for ((script, shards), count) in rows.iter().zip(counted) {
            let units = count.played.units as f64;
            let (traffic, writes) = (count.played.traffic, count.played.writes);
            let title = if *shards == SHARDS[0] { script.title } else { "" };
            println!(
                "{title:<42} {shards:>6} {:>13.1} {:>7.2}× {:>8.4} {:>9.4} {:>9.1} {:>8.4}",
                count.each(),
                count.each() / counted[0].each(),
                traffic.frames as f64 / units,
                traffic.batches as f64 / units,
                traffic.bytes as f64 / units,
                writes as f64 / units,
            );
        }
    }
    Ok(())
}
