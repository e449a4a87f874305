//! Ports of the engine: where packets come from and go to.
//!
//! A [`Port`] moves packets between the outside and a [`FramePool`]; it never looks into them and never decides
//! anything. Every frame that a port holds comes back to the pool by [`Port::recycle`] or [`Port::close`].
//! Called by the worker loop, the tests and the benches.

pub mod interface;
pub mod memory;
pub mod pcap;
pub mod pcap_file;
pub mod plug;
mod rings;
mod socket;
pub mod xsk;

use std::os::fd::RawFd;

use crate::packet::{FramePool, Packet};

/// A place where packets come from and go to.
#[derive(Debug)]
pub enum Port {
    /// An AF_XDP socket on one queue of an interface.
    Xsk(Box<xsk::XskSocket>),
    /// One end of a pair in memory, for tests and benches.
    Memory(memory::MemoryPort),
    /// Packets read from and written to pcap files, for replay.
    Pcap(Box<pcap::PcapPort>),
}

impl Port {
    /// Receives at most `max` packets, appending them to `batch` with `in_port` set; returns how many.
    pub fn receive(
        &mut self,
        pool: &mut FramePool,
        in_port: u16,
        batch: &mut Vec<Packet>,
        max: usize,
    ) -> usize {
        match self {
            Self::Xsk(socket) => socket.receive(in_port, batch, max),
            Self::Memory(port) => port.receive(pool, in_port, batch, max),
            Self::Pcap(port) => port.receive(pool, in_port, batch, max),
        }
    }

    /// Queues a packet for sending. It goes out with the next [`Port::flush`] at the latest. Gives the packet
    /// back when there is no room.
    pub fn transmit(&mut self, pool: &mut FramePool, packet: Packet) -> Result<(), Packet> {
        match self {
            Self::Xsk(socket) => socket.transmit(packet),
            Self::Memory(port) => port.transmit(pool, packet),
            Self::Pcap(port) => port.transmit(pool, packet),
        }
    }

    /// Sends what is queued.
    pub fn flush(&mut self) {
        match self {
            Self::Xsk(socket) => socket.flush(),
            Self::Memory(_) => {}
            Self::Pcap(port) => port.flush(),
        }
    }

    /// Takes the frames of sent packets back into the pool and gives the port frames to receive into.
    pub fn recycle(&mut self, pool: &mut FramePool) {
        match self {
            Self::Xsk(socket) => socket.recycle(pool),
            Self::Memory(_) | Self::Pcap(_) => {}
        }
    }

    /// What to wait on for packets, where there is such a thing.
    pub fn descriptor(&self) -> Option<RawFd> {
        match self {
            Self::Xsk(socket) => Some(socket.descriptor()),
            Self::Memory(_) | Self::Pcap(_) => None,
        }
    }

    /// Ends the port. Every frame that it holds goes to `frames`; the caller frees them, see
    /// [`xsk::XskSocket::close`] for when.
    pub fn close(self, frames: &mut Vec<u32>) {
        match self {
            Self::Xsk(socket) => socket.close(frames),
            Self::Memory(_) | Self::Pcap(_) => {}
        }
    }
}
