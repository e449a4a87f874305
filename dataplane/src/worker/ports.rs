//! The ports of one worker: which port a packet came by and which it leaves by, directly or through the trunk.
//!
//! A packet for a port that the worker has no socket of goes through the trunk, its port named by a tag; so
//! TC-attached ports are reached, and ports whose queues belong to other workers. Used by the worker loop only.

use edgestack_abi::DropReason;
use edgestack_abi::maps::MAX_PORTS;
use edgestack_abi::punt::{TRUNK_TAG_LENGTH, TRUNK_TAG_OFFSET, trunk_tag, trunk_tag_port};

use super::{Refused, TRUNK, WorkerStatistics};
use crate::io::Port;
use crate::packet::{BATCH_SIZE, FramePool, Packet};

/// No slot: the port is reached through the trunk, if there is one.
const NO_SLOT: u16 = u16::MAX;

#[derive(Debug)]
struct Slot {
    number: u16,
    port: Port,
    /// What the kernel had dropped on the way to the socket when it was last asked.
    receive_drops: u64,
}

#[derive(Debug)]
pub(super) struct Ports {
    slots: Vec<Slot>,
    /// Position in `slots` by port number.
    slot_by_number: Box<[u16]>,
}

impl Ports {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), slot_by_number: vec![NO_SLOT; MAX_PORTS as usize].into() }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn numbers(&self) -> Vec<u16> {
        self.slots.iter().map(|slot| slot.number).collect()
    }

    pub(super) fn insert(&mut self, number: u16, port: Port) {
        self.slots.push(Slot { number, port, receive_drops: 0 });
        self.index();
    }

    pub(super) fn remove(&mut self, number: u16, statistics: &WorkerStatistics) -> Option<Port> {
        let position = self.slots.iter().position(|slot| slot.number == number)?;
        let mut slot = self.slots.swap_remove(position);
        slot.count_receive_drops(statistics);
        self.index();
        Some(slot.port)
    }

    fn index(&mut self) {
        self.slot_by_number.fill(NO_SLOT);
        for (position, slot) in self.slots.iter().enumerate() {
            self.slot_by_number[usize::from(slot.number)] = position as u16;
        }
    }

    /// Receives a batch from the port at `position`; every packet of it has its port's number.
    pub(super) fn receive(
        &mut self,
        position: usize,
        pool: &mut FramePool,
        batch: &mut Vec<Packet>,
        statistics: &WorkerStatistics,
    ) {
        let slot = &mut self.slots[position];
        slot.port.receive(pool, slot.number, batch, BATCH_SIZE);
        if slot.number == TRUNK {
            untag(pool, batch, statistics);
        }
    }

    /// Queues a packet at the port, or gives it back with the reason.
    pub(super) fn transmit(
        &mut self,
        number: u16,
        pool: &mut FramePool,
        mut packet: Packet,
    ) -> Result<(), Refused> {
        let mut position = self.slot_by_number.get(usize::from(number)).copied().unwrap_or(NO_SLOT);
        if position == NO_SLOT {
            position = self.slot_by_number[usize::from(TRUNK)];
            if position == NO_SLOT {
                return Err((DropReason::PortDown, packet));
            }
            if let Err(reason) = tag(pool, &mut packet, number) {
                return Err((reason, packet));
            }
        }
        let port = &mut self.slots[usize::from(position)].port;
        let Err(packet) = port.transmit(pool, packet) else { return Ok(()) };
        port.flush();
        port.recycle(pool);
        port.transmit(pool, packet).map_err(|packet| (DropReason::TransmitFull, packet))
    }

    pub(super) fn flush(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.port.flush());
    }

    pub(super) fn recycle(&mut self, pool: &mut FramePool) {
        for slot in &mut self.slots {
            slot.port.flush();
            slot.port.recycle(pool);
        }
    }

    /// A port works by being polled.
    pub(super) fn wants_polling(&self) -> bool {
        self.slots.iter().any(|slot| matches!(&slot.port, Port::Xsk(socket) if socket.is_busy_polled()))
    }

    /// A port has, or may have, something to do that no event will announce.
    pub(super) fn wakes_nobody(&self) -> bool {
        self.slots.iter().any(|slot| match &slot.port {
            Port::Xsk(socket) => socket.is_refused(),
            Port::Memory(_) | Port::Pcap(_) => true,
        })
    }

    /// Adds what the kernel dropped on the way to the sockets since it was last asked.
    pub(super) fn count_receive_drops(&mut self, statistics: &WorkerStatistics) {
        self.slots.iter_mut().for_each(|slot| slot.count_receive_drops(statistics));
    }
}

impl Slot {
    fn count_receive_drops(&mut self, statistics: &WorkerStatistics) {
        let Port::Xsk(socket) = &self.port else { return };
        if let Ok(counted) = socket.statistics() {
            let drops = counted.receive_dropped + counted.receive_ring_full;
            statistics.count_drops(DropReason::ReceiveFull, drops.saturating_sub(self.receive_drops));
            self.receive_drops = drops;
        }
    }
}

/// Takes the tag off every packet of the trunk and notes the port that it names. Packets without a tag are
/// noise and are dropped.
fn untag(pool: &mut FramePool, batch: &mut Vec<Packet>, statistics: &WorkerStatistics) {
    let mut position = 0;
    while position < batch.len() {
        match tagged_port(pool.data(&batch[position])) {
            Ok(port) => {
                let packet = &mut batch[position];
                pool.data_mut(packet).copy_within(..TRUNK_TAG_OFFSET, TRUNK_TAG_LENGTH);
                packet.offset += TRUNK_TAG_LENGTH as u16;
                packet.length -= TRUNK_TAG_LENGTH as u16;
                packet.in_port = port;
                position += 1;
            }
            Err(reason) => {
                pool.free(batch.remove(position));
                statistics.count_drop(reason);
            }
        }
    }
}

fn tagged_port(frame: &[u8]) -> Result<u16, DropReason> {
    let tag = frame
        .get(TRUNK_TAG_OFFSET..)
        .and_then(|rest| rest.first_chunk::<TRUNK_TAG_LENGTH>())
        .ok_or(DropReason::MalformedEthernet)?;
    trunk_tag_port(*tag).ok_or(DropReason::UnknownPort)
}

/// Puts a tag that names `port` behind the MAC addresses, into the headroom before the packet.
fn tag(pool: &mut FramePool, packet: &mut Packet, port: u16) -> Result<(), DropReason> {
    if usize::from(packet.length) < TRUNK_TAG_OFFSET || usize::from(packet.offset) < TRUNK_TAG_LENGTH {
        return Err(DropReason::MalformedEthernet);
    }
    packet.offset -= TRUNK_TAG_LENGTH as u16;
    packet.length += TRUNK_TAG_LENGTH as u16;
    let frame = pool.data_mut(packet);
    frame.copy_within(TRUNK_TAG_LENGTH..TRUNK_TAG_LENGTH + TRUNK_TAG_OFFSET, 0);
    frame[TRUNK_TAG_OFFSET..TRUNK_TAG_OFFSET + TRUNK_TAG_LENGTH].copy_from_slice(&trunk_tag(port));
    Ok(())
}

#[cfg(test)]
mod tests {
    use edgestack_abi::DropReason;
    use edgestack_abi::punt::trunk_tag;

    use super::{Ports, WorkerStatistics};
    use crate::io::Port;
    use crate::io::memory::MemoryPort;
    use crate::packet::FramePool;
    use crate::worker::TRUNK;

    const FRAME: [u8; 16] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0, 9, 9];

    fn tagged(port: u16) -> Vec<u8> {
        [&FRAME[..12], &trunk_tag(port), &FRAME[12..]].concat()
    }

    fn trunk() -> (Ports, MemoryPort, FramePool, WorkerStatistics) {
        let (worker_end, kernel_end) = MemoryPort::pair(8);
        let mut ports = Ports::new();
        ports.insert(TRUNK, Port::Memory(worker_end));
        (ports, kernel_end, FramePool::new(8).unwrap(), WorkerStatistics::default())
    }

    #[test]
    fn the_trunk_names_the_port_of_a_packet() {
        let (mut ports, kernel_end, mut pool, statistics) = trunk();
        kernel_end.send(&tagged(7));
        kernel_end.send(&FRAME);
        kernel_end.send(&FRAME[..13]);
        kernel_end.send(&[]);
        kernel_end.send(&tagged(16_383));
        let mut batch = Vec::new();
        ports.receive(0, &mut pool, &mut batch, &statistics);
        assert_eq!(batch.iter().map(|packet| packet.in_port).collect::<Vec<_>>(), [7, 16_383]);
        assert_eq!(statistics.drops(DropReason::UnknownPort), 1);
        assert_eq!(statistics.drops(DropReason::MalformedEthernet), 2);
        for packet in batch {
            assert_eq!(pool.data(&packet), FRAME);
            ports.transmit(9, &mut pool, packet).unwrap();
            assert_eq!(kernel_end.take().unwrap(), tagged(9));
        }
        assert_eq!(pool.available(), pool.capacity());
    }

    #[test]
    fn a_port_with_a_socket_is_not_reached_through_the_trunk() {
        let (mut ports, trunk_end, mut pool, statistics) = trunk();
        let (worker_end, port_end) = MemoryPort::pair(1);
        ports.insert(5, Port::Memory(worker_end));
        let mut packet = || {
            let mut packet = pool.allocate(1).unwrap();
            pool.write(&mut packet, &FRAME);
            packet
        };
        let (first, second, third) = (packet(), packet(), packet());
        ports.transmit(5, &mut pool, first).unwrap();
        assert_eq!(port_end.take().unwrap(), FRAME);

        ports.transmit(5, &mut pool, second).unwrap();
        let (reason, third) = ports.transmit(5, &mut pool, third).unwrap_err();
        assert_eq!(reason, DropReason::TransmitFull);

        ports.remove(5, &statistics).unwrap();
        ports.transmit(5, &mut pool, third).unwrap();
        assert_eq!(trunk_end.take().unwrap(), tagged(5));
        ports.remove(TRUNK, &statistics).unwrap();
        let last = pool.allocate(1).unwrap();
        let (reason, last) = ports.transmit(5, &mut pool, last).unwrap_err();
        assert_eq!(reason, DropReason::PortDown);
        pool.free(last);
        assert_eq!(pool.available(), pool.capacity());
    }
}
