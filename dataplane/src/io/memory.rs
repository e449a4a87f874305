//! Ports in memory: what one end sends, the other receives. For tests and benches.
//!
//! Packets are copied through a bounded queue, so the two ends may have different pools and threads. Never used
//! for real traffic.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::packet::{FRAME_SIZE, FramePool, HEADROOM, Packet};

/// Longest packet that an end takes, in bytes.
pub const PACKET_LENGTH_MAX: usize = FRAME_SIZE - HEADROOM;

/// One end of a pair.
#[derive(Clone, Debug)]
pub struct MemoryPort {
    incoming: Arc<ArrayQueue<Vec<u8>>>,
    outgoing: Arc<ArrayQueue<Vec<u8>>>,
}

impl MemoryPort {
    /// Two ends joined by queues of `capacity` packets each way.
    pub fn pair(capacity: usize) -> (Self, Self) {
        let (one, other) = (Arc::new(ArrayQueue::new(capacity)), Arc::new(ArrayQueue::new(capacity)));
        (Self { incoming: one.clone(), outgoing: other.clone() }, Self { incoming: other, outgoing: one })
    }

    /// Sends bytes without a pool, as a test does. False when the queue is full or the packet too long.
    pub fn send(&self, bytes: &[u8]) -> bool {
        bytes.len() <= PACKET_LENGTH_MAX && self.outgoing.push(bytes.to_vec()).is_ok()
    }

    /// Takes the next packet without a pool, as a test does.
    pub fn take(&self) -> Option<Vec<u8>> {
        self.incoming.pop()
    }

    /// The other end has taken all that was sent.
    pub fn is_drained(&self) -> bool {
        self.outgoing.is_empty()
    }

    pub(super) fn receive(
        &mut self,
        pool: &mut FramePool,
        in_port: u16,
        batch: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        let before = batch.len();
        while batch.len() - before < max && !self.incoming.is_empty() {
            let Some(mut packet) = pool.allocate(in_port) else { break };
            let Some(bytes) = self.incoming.pop() else {
                pool.free(packet);
                break;
            };
            pool.write(&mut packet, &bytes);
            batch.push(packet);
        }
        batch.len() - before
    }

    pub(super) fn transmit(&mut self, pool: &mut FramePool, packet: Packet) -> Result<(), Packet> {
        if self.outgoing.is_full() || self.outgoing.push(pool.data(&packet).to_vec()).is_err() {
            return Err(packet);
        }
        pool.free(packet);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{MemoryPort, PACKET_LENGTH_MAX};
    use crate::io::Port;
    use crate::packet::FramePool;

    #[test]
    fn packets_cross_and_every_frame_returns() {
        let (engine_end, test_end) = MemoryPort::pair(2);
        let mut port = Port::Memory(engine_end);
        let mut pool = FramePool::new(4).unwrap();
        assert!(test_end.send(&[1, 2, 3]));
        assert!(test_end.send(&[4]));
        assert!(!test_end.send(&[5]), "the queue is full");

        let mut batch = Vec::new();
        assert_eq!(port.receive(&mut pool, 7, &mut batch, 1), 1);
        assert_eq!(port.receive(&mut pool, 7, &mut batch, 32), 1);
        assert_eq!(pool.data(&batch[0]), [1, 2, 3]);
        assert_eq!(batch[1].in_port, 7);
        for packet in batch.drain(..) {
            port.transmit(&mut pool, packet).unwrap();
        }
        assert_eq!(test_end.take().unwrap(), [1, 2, 3]);
        assert_eq!(pool.available(), pool.capacity());
    }

    #[test]
    fn a_full_queue_gives_the_packet_back() {
        let (engine_end, test_end) = MemoryPort::pair(1);
        let mut port = Port::Memory(engine_end);
        let mut pool = FramePool::new(4).unwrap();
        let first = pool.allocate(1).unwrap();
        let second = pool.allocate(1).unwrap();
        port.transmit(&mut pool, first).unwrap();
        let second = port.transmit(&mut pool, second).unwrap_err();
        pool.free(second);
        assert_eq!(pool.available(), pool.capacity());
        assert_eq!(test_end.take().unwrap(), []);
    }

    #[test]
    fn without_a_free_frame_packets_wait() {
        let (mut engine_end, test_end) = MemoryPort::pair(4);
        let mut pool = FramePool::new(1).unwrap();
        test_end.send(&[1]);
        test_end.send(&[2]);
        assert!(!test_end.send(&vec![0; PACKET_LENGTH_MAX + 1]));
        let mut batch = Vec::new();
        assert_eq!(engine_end.receive(&mut pool, 1, &mut batch, 32), 1);
        pool.free(batch.pop().unwrap());
        assert_eq!(engine_end.receive(&mut pool, 1, &mut batch, 32), 1);
        assert_eq!(pool.data(&batch[0]), [2]);
        pool.free(batch.pop().unwrap());
    }
}
