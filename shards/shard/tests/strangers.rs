//! What connections cost that nobody knows, whatever they send. One test: the counts are those of
//! the whole process.

#[path = "support/bus.rs"]
mod bus;

use std::alloc::System;
use std::sync::Arc;

use bus::Bus;
use shard::Options;
use shard::access::{Access, ConnectionTypes, Proof, Secret, User};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HASH: &str = "$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";
const STRANGERS: usize = 300;

#[test]
fn a_stranger_costs_at_most_16_kib() {
    let mut access = Access::default();
    access.add_user(User {
        name: "a".into(),
        proof: Proof::Password(Secret::new(HASH)),
        account: shard::AccountId::GLOBAL,
        permissions: None,
        connection_types: ConnectionTypes::ANY,
        limits: Default::default(),
    });
    let access = Arc::new(access);
    let pad = "x".repeat(5_900);
    let name = format!("CONNECT {{\"user\":\"a\",\"pass\":\"p\",\"name\":\"{pad}\"}}\r\n");
    let pass = format!("CONNECT {{\"user\":\"a\",\"pass\":\"{pad}\"}}\r\n");
    let lists = "\"a\",".repeat(1_400);
    let lists = format!(
        "CONNECT {{\"user\":\"a\",\"pass\":\"p\",\"import\":{{\"allow\":[{lists}\"\"]}}}}\r\n"
    );
    let more = "SUB a 1\r\n".repeat(455);
    let cases: [(&str, Vec<String>); 7] = [
        ("says nothing", vec![]),
        ("never ends its line", vec![format!("CONNECT {{\"name\":\"{pad}")]),
        ("drips", format!("CONNECT {{\"{pad}").chars().map(String::from).collect()),
        ("is checked, with a long name", vec![name.clone(), more.clone()]),
        ("is checked, with a long password", vec![pass, more.clone()]),
        ("is checked, with long lists", vec![lists, more.clone()]),
        ("blanks", vec![format!("CONNECT{}", " ".repeat(60_000))]),
    ];
    for (what, parts) in cases {
        let options =
            Options { access: access.clone(), control_line_max: 1 << 20, ..Options::default() };
        let mut bus = Bus::with(1, options);
        bus.holds_checks = true;
        let region = Region::new(ALLOCATOR);
        for _ in 0..STRANGERS {
            let id = bus.connect(0);
            for part in &parts {
                bus.post(id, part.as_bytes());
            }
            assert!(!bus.is_closed(id), "{what}");
        }
        let change = region.change();
        let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
        let each = live / STRANGERS as isize;
        println!("{what}: {each} bytes each");
        assert!(each <= 16 * 1024, "one that {what} costs {each} bytes");
    }
}
