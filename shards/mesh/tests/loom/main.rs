//! Checked by loom, and empty without it (see `cases`).
#![allow(unexpected_cfgs)]

#[cfg(loom)]
mod cases;
