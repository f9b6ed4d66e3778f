//! Frames between lanes and rings.

use mesh::Receiver;
use shard::{Input, ShardId};

use super::{Driver, Link};
use crate::bus::Bus;

impl<B: Bus> Driver<B> {
    /// Moves frames from a shard's lane to its ring. Gives how many.
    pub fn pump(&mut self, from: usize, to: usize, links: &mut [Link]) -> Result<usize, String> {
        let Some(sender) = &mut self.senders[from][to] else { return Ok(0) };
        let mut moved = 0;
        while sender.free() > 0 {
            let Some(frame) = self.bus.pull(from, to) else { break };
            if sender.push(frame).is_err() {
                return Err(format!("the ring {from} → {to} had room and has none"));
            }
            moved += 1;
        }
        let (capacity, peer) = (sender.capacity(), ShardId(to as u16));
        let held = self.receivers[to][from].as_ref().map_or(0, Receiver::len);
        if held > capacity {
            return Err(format!("the ring {from} → {to} of {capacity} holds {held} frames"));
        }
        if self.bus.effects(from).relieved(peer) {
            self.step(from, Input::Room { to: peer }, links)?;
        }
        Ok(moved)
    }

    /// Hands a shard up to `max` frames of a peer's ring. Gives how many.
    pub fn drain(
        &mut self,
        from: usize,
        to: usize,
        max: usize,
        links: &mut [Link],
    ) -> Result<usize, String> {
        let Some(mut receiver) = self.receivers[to][from].take() else { return Ok(0) };
        let (mut result, peer) = (Ok(()), ShardId(from as u16));
        let moved = receiver.drain(max, |frame| {
            let stepped = self.step(to, Input::Frame { from: peer, frame }, links);
            if result.is_ok() {
                result = stepped;
            }
        });
        self.receivers[to][from] = Some(receiver);
        result.map(|()| moved)
    }

    /// Lanes with frames for a ring that has room.
    pub fn lanes_to_pump(&mut self) -> Vec<(usize, usize)> {
        let shards = self.shards();
        let mut found = Vec::new();
        for from in 0..shards {
            for to in 0..shards {
                let room = self.senders[from][to].as_mut().is_some_and(|sender| sender.free() > 0);
                if room && !self.bus.effects(from).is_clear(ShardId(to as u16)) {
                    found.push((from, to));
                }
            }
        }
        found
    }

    /// Lanes with frames in their ring.
    pub fn lanes_to_drain(&self) -> Vec<(usize, usize)> {
        let shards = self.shards();
        let lanes = (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to)));
        lanes
            .filter(|(from, to)| {
                self.receivers[*to][*from].as_ref().is_some_and(|ring| !ring.is_empty())
            })
            .collect()
    }
}
