//! What a driver drives: some shards, each stepped by itself.

use shard::{Chunk, ConnId, Effects, Frame, Input, Nanos, Options, Shard, ShardId};

/// A server's shards without sockets and rings. The [`crate::driver::Driver`] has those.
pub trait Bus {
    /// Bytes on their way to a socket.
    type Chunk: AsRef<[u8]>;
    /// How many shards there are.
    fn shards(&self) -> usize;
    /// One event for one shard.
    fn step(&mut self, at: usize, now: Nanos, input: Input<'_>);
    /// What the shard wants done.
    fn effects(&mut self, at: usize) -> &mut Effects;
    /// The next frame for a peer's ring.
    fn pull(&mut self, from: usize, to: usize) -> Option<Frame>;
    /// The next bytes for a socket.
    fn take_chunk(&mut self, at: usize, conn: ConnId) -> Option<Self::Chunk>;
    /// Takes bytes back.
    fn recycle(&mut self, at: usize, chunk: Self::Chunk);
    /// When a turn is needed at the latest.
    fn deadline(&self, at: usize) -> Option<Nanos>;
    /// Is a turn needed soon?
    fn has_work(&self, at: usize) -> bool;
    /// Has every question got its report?
    fn check_reports(&self, asked: u64, answered: u64) -> Result<(), String> {
        if asked == answered {
            Ok(())
        } else {
            Err(format!("{asked} reports were asked for, {answered} came"))
        }
    }
    /// With nothing under way: is everything put away and does everybody know the same?
    fn check_rest(&self) -> Result<(), String>;
}

/// The production code.
pub struct Shards {
    nodes: Vec<(Shard, Effects)>,
}

impl Shards {
    /// As the server would make them.
    pub fn new(shards: usize, options: &Options, seed: u64) -> Shards {
        let info = wire::ServerInfo {
            server_id: "SIM".into(),
            server_name: "sim".into(),
            version: "0.0.0".into(),
            proto: 1,
            headers: options.headers,
            max_payload: options.payload_max as i32,
            ..wire::ServerInfo::default()
        };
        let node = |at: usize| {
            let id = ShardId(at as u16);
            let seed = seed.wrapping_add(at as u64);
            let mut effects = Effects::new(shards);
            effects.bound(options.flow_bounds(shards));
            (Shard::new(id, shards, options.clone(), info.clone(), seed, 0), effects)
        };
        Shards { nodes: (0..shards).map(node).collect() }
    }
}

impl Bus for Shards {
    type Chunk = Chunk;

    fn shards(&self) -> usize {
        self.nodes.len()
    }

    fn step(&mut self, at: usize, now: Nanos, input: Input<'_>) {
        let (shard, effects) = &mut self.nodes[at];
        shard.step(now, input, effects);
    }

    fn effects(&mut self, at: usize) -> &mut Effects {
        &mut self.nodes[at].1
    }

    fn pull(&mut self, from: usize, to: usize) -> Option<Frame> {
        self.nodes[from].1.pull(ShardId(to as u16))
    }

    fn take_chunk(&mut self, at: usize, conn: ConnId) -> Option<Chunk> {
        self.nodes[at].0.take_chunk(conn)
    }

    fn recycle(&mut self, at: usize, chunk: Chunk) {
        self.nodes[at].0.recycle(chunk);
    }

    fn deadline(&self, at: usize) -> Option<Nanos> {
        self.nodes[at].0.deadline()
    }

    fn has_work(&self, at: usize) -> bool {
        self.nodes[at].0.has_work()
    }

    fn check_rest(&self) -> Result<(), String> {
        for (at, (shard, _)) in self.nodes.iter().enumerate() {
            if !shard.is_at_rest() {
                return Err(format!("shard {at} keeps something though nothing is under way"));
            }
            let mut announced = shard.announced();
            announced.sort();
            for (peer, (other, _)) in self.nodes.iter().enumerate().filter(|(peer, _)| *peer != at)
            {
                let mut heard = other.heard(ShardId(at as u16));
                heard.sort();
                if heard != announced {
                    return Err(format!(
                        "shard {peer} believes {heard:?} of {at}, which says {announced:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
