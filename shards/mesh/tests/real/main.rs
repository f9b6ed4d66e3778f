//! The real atomics on real threads; empty when loom's are compiled in.
#![allow(unexpected_cfgs)]

#[cfg(not(loom))]
mod ring;
#[cfg(not(loom))]
mod threads;
