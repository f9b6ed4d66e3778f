//! What every room needs: servers to start, connections to talk over, dialogues to play and
//! compare.

pub mod browser;
pub mod cast;
pub mod compare;
pub mod differences;
pub mod frame;
pub mod mask;
pub mod player;
#[path = "../../shards/wire/tests/support/rng.rs"]
pub mod rng;
pub mod script;
pub mod server;
pub mod text;
pub mod tokens;
