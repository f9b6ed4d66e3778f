//! /debug/vars and /stacksz: the process itself, in the shapes of Go's runtime.

use serde::Serialize;

use crate::ProcessFigures;
use crate::http::Response;
use crate::json;
use crate::site::Site;

/// What Go calls memory statistics. Only what a process without a garbage collector has is filled.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemStats {
    alloc: u64,
    total_alloc: u64,
    sys: u64,
    lookups: u64,
    mallocs: u64,
    frees: u64,
    heap_alloc: u64,
    heap_sys: u64,
    heap_idle: u64,
    heap_inuse: u64,
    heap_released: u64,
    heap_objects: u64,
    stack_inuse: u64,
    stack_sys: u64,
    #[serde(rename = "MSpanInuse")]
    m_span_inuse: u64,
    #[serde(rename = "MSpanSys")]
    m_span_sys: u64,
    #[serde(rename = "MCacheInuse")]
    m_cache_inuse: u64,
    #[serde(rename = "MCacheSys")]
    m_cache_sys: u64,
    buck_hash_sys: u64,
    #[serde(rename = "GCSys")]
    gc_sys: u64,
    other_sys: u64,
    #[serde(rename = "NextGC")]
    next_gc: u64,
    #[serde(rename = "LastGC")]
    last_gc: u64,
    pause_total_ns: u64,
    pause_ns: [u64; 0],
    pause_end: [u64; 0],
    #[serde(rename = "NumGC")]
    num_gc: u64,
    #[serde(rename = "NumForcedGC")]
    num_forced_gc: u64,
    #[serde(rename = "GCCPUFraction")]
    gccpu_fraction: u64,
    #[serde(rename = "EnableGC")]
    enable_gc: bool,
    #[serde(rename = "DebugGC")]
    debug_gc: bool,
    by_size: [u64; 0],
}

/// As the system account shows it.
#[derive(Serialize)]
pub(crate) struct Expvarz<'a> {
    memstats: MemStats,
    cmdline: &'a [String],
}

impl<'a> Expvarz<'a> {
    pub(crate) fn new(site: &'a Site, process: &ProcessFigures) -> Expvarz<'a> {
        let bytes = process.mem_rss;
        let memstats = MemStats {
            alloc: bytes,
            total_alloc: bytes,
            sys: bytes,
            heap_alloc: bytes,
            heap_sys: bytes,
            heap_inuse: bytes,
            ..MemStats::default()
        };
        Expvarz { memstats, cmdline: &site.command_line }
    }
}

/// Two variables, one a line.
pub(crate) fn debug_vars(site: &Site, process: &ProcessFigures) -> Response {
    let vars = Expvarz::new(site, process);
    let mut body = b"{\n\"cmdline\": ".to_vec();
    body.extend(json::compact(&vars.cmdline));
    body.extend_from_slice(b",\n\"memstats\": ");
    body.extend(json::compact(&vars.memstats));
    body.extend_from_slice(b"\n}\n");
    Response::new(200, "application/json; charset=utf-8", body)
}

/// One thread a paragraph, as a goroutine dump has one goroutine.
pub(crate) fn stacksz(process: &ProcessFigures) -> Response {
    let threads = process.threads.iter();
    let text: Vec<String> =
        threads.map(|(id, name, state)| format!("thread {id} [{state}]:\n{name}\n")).collect();
    Response::json(200, text.join("\n").into_bytes())
}
