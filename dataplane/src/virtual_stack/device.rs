//! The device of one port's stack: IP packets from and to the exchange, with the Ethernet header taken off and put on.

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::address::MacAddress;
use crate::exchange::{Exchange, PARCEL_LENGTH_MAX, Parcel};
use crate::wire::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, write_u16};

/// Where the packets of one port's stack come from and go to.
pub(super) struct PortDevice<'a> {
    pub(super) exchange: &'a Exchange,
    /// The packet to be received, if any.
    pub(super) received: Option<Parcel>,
    /// The port.
    pub(super) port: u16,
    /// The gateway's MAC address, and that of the workload.
    pub(super) ends: (MacAddress, MacAddress),
    /// Largest IP packet.
    pub(super) mtu: usize,
    /// Something was sent.
    pub(super) has_sent: bool,
}

pub(super) struct Received<'a>(&'a Exchange, Parcel);

pub(super) struct Sending<'a> {
    exchange: &'a Exchange,
    port: u16,
    ends: (MacAddress, MacAddress),
    has_sent: &'a mut bool,
}

impl Device for PortDevice<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Sending<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let parcel = self.received.take()?;
        let sending = Sending {
            exchange: self.exchange,
            port: self.port,
            ends: self.ends,
            has_sent: &mut self.has_sent,
        };
        Some((Received(self.exchange, parcel), sending))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sending<'_>> {
        let (exchange, port, ends) = (self.exchange, self.port, self.ends);
        exchange.has_room().then_some(Sending { exchange, port, ends, has_sent: &mut self.has_sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu.min(PARCEL_LENGTH_MAX - ETHERNET_LENGTH);
        capabilities.checksum.tcp = Checksum::Both;
        capabilities
    }
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(self.1.frame.get(ETHERNET_LENGTH..).unwrap_or(&[]));
        self.0.recycle(self.1);
        result
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        // Without a free parcel the packet is lost, as on any network; TCP sends it again.
        let parcel = self.exchange.parcel().filter(|_| length <= PARCEL_LENGTH_MAX - ETHERNET_LENGTH);
        let Some(mut parcel) = parcel else { return f(&mut vec![0; length]) };
        parcel.port = self.port;
        parcel.frame.resize(ETHERNET_LENGTH + length, 0);
        let result = f(&mut parcel.frame[ETHERNET_LENGTH..]);
        let is_ipv6 = parcel.frame.get(ETHERNET_LENGTH).is_some_and(|byte| byte >> 4 == 6);
        write_ethernet(&mut parcel.frame, self.ends, if is_ipv6 { ETHER_TYPE_IPV6 } else { ETHER_TYPE_IPV4 });
        self.exchange.send(parcel);
        *self.has_sent = true;
        result
    }
}

/// Writes an Ethernet header from the first of two MAC addresses to the second.
fn write_ethernet(frame: &mut [u8], (source, destination): (MacAddress, MacAddress), ether_type: u16) {
    frame[..6].copy_from_slice(&destination.0);
    frame[6..12].copy_from_slice(&source.0);
    write_u16(frame, 12, ether_type);
}
