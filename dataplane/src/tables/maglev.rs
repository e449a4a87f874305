//! Maglev: which member of a load balancer a connection goes to, as a table that every host makes alike.
//!
//! After Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016), section 3.4. Each
//! member goes through the table in an order of its own, which hangs on nothing but the hash of its identifier, and takes
//! the next free place at its turn; a member of weight 3 takes three places a turn. So shares follow the weights, a member
//! that comes or goes moves few connections of the others, and a connection whose state is lost is sent where it was
//! before, by whatever host. All hashes here are fixed and public for that reason: they spread, they hide nothing.
//!
//! Made when members change, read when a connection is new. It does no I/O and knows no addresses.

use std::net::IpAddr;

use crate::tuple::Tuple;

/// Places of a table where nothing else is set.
pub const PLACES_DEFAULT: u32 = 65_537;
/// Fewest places: the least prime that keeps shares of a hundred members within a few percent.
pub const PLACES_MIN: u32 = 1021;
/// Most places: 1.3 MB for each table.
pub const PLACES_MAX: u32 = 655_373;
/// Largest weight of a member.
pub const WEIGHT_MAX: u16 = 256;

/// A place that nobody has taken yet.
const FREE: u16 = u16::MAX;

/// A member as the table sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Hash of its identifier.
    pub id_hash: u64,
    /// Places that it takes a turn; 0 is none.
    pub weight: u16,
}

/// For every place the member that has it.
#[derive(Debug, PartialEq, Eq)]
pub struct MaglevTable {
    candidates: Vec<Candidate>,
    places: Vec<u16>,
}

/// A member's way through the table.
struct Walk {
    next: u32,
    skip: u32,
}

impl MaglevTable {
    /// A table of `places` places, a prime. None when no candidate has a weight. Candidates must come in the same order
    /// everywhere; more than 65,534 are not heard.
    pub fn new(candidates: Vec<Candidate>, places: u32) -> Option<Self> {
        let mut walks: Vec<Walk> =
            candidates.iter().map(|candidate| Walk::new(candidate.id_hash, places)).collect();
        let mut table = vec![FREE; places as usize];
        let mut left = table.len();
        if candidates.iter().all(|candidate| candidate.weight == 0) || left == 0 {
            return None;
        }
        while left > 0 {
            for (member, (candidate, walk)) in candidates.iter().zip(&mut walks).take(FREE.into()).enumerate()
            {
                for _ in 0..candidate.weight.min(WEIGHT_MAX) {
                    if left == 0 {
                        break;
                    }
                    let place = walk.next_free(&table, places);
                    table[place] = member as u16;
                    left -= 1;
                }
            }
        }
        Some(Self { candidates, places: table })
    }

    /// The position of the member that a connection with this hash goes to, in the list that the table was made of.
    pub fn member(&self, hash: u64) -> usize {
        usize::from(self.places[(hash % self.places.len() as u64) as usize])
    }

    /// Whether a table of these candidates and of so many places would be this one.
    pub fn is_of(&self, candidates: &[Candidate], places: u32) -> bool {
        self.candidates == candidates && self.places.len() == places as usize
    }

    /// Places of each member, in the order of the candidates.
    pub fn shares(&self) -> Vec<u32> {
        let mut shares = vec![0; self.candidates.len()];
        for member in &self.places {
            shares[usize::from(*member)] += 1;
        }
        shares
    }
}

impl Walk {
    fn new(id_hash: u64, places: u32) -> Self {
        let spread = mix(id_hash);
        // Any step but 0 visits all places, because their number is prime.
        let skip = (spread >> 32) as u32 % places.saturating_sub(1).max(1) + 1;
        Self { next: spread as u32 % places.max(1), skip }
    }

    /// The next place on the way that is free. There is one.
    fn next_free(&mut self, table: &[u16], places: u32) -> usize {
        loop {
            let place = self.next as usize;
            self.next = ((u64::from(self.next) + u64::from(self.skip)) % u64::from(places)) as u32;
            if table[place] == FREE {
                return place;
            }
        }
    }
}

/// Whether a table may have so many places: a prime within the limits.
pub fn is_size(places: u32) -> bool {
    let is_prime = || (2..=places.isqrt()).all(|divisor| !places.is_multiple_of(divisor));
    (PLACES_MIN..=PLACES_MAX).contains(&places) && is_prime()
}

/// The hash of a connection's first packet, by which it is sent to a member; with `by_client` all connections of a client
/// have one.
pub fn connection_hash(tuple: &Tuple, by_client: bool) -> u64 {
    let client = address_hash(tuple.source);
    if by_client {
        return mix(client);
    }
    let ports =
        u64::from(u16::from_be(tuple.source_port)) << 16 | u64::from(u16::from_be(tuple.destination_port));
    mix(mix(client ^ address_hash(tuple.destination).rotate_left(32))
        ^ ports
        ^ u64::from(tuple.protocol) << 32)
}

fn address_hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mix(mix((bits >> 64) as u64) ^ bits as u64)
        }
    }
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::{Candidate, MaglevTable, PLACES_DEFAULT, connection_hash, is_size};
    use crate::tuple::Tuple;

    #[test]
    fn tables_are_the_same_in_every_build() {
        let candidates = (1..=3).map(|id_hash| Candidate { id_hash, weight: 1 }).collect();
        let table = MaglevTable::new(candidates, 1021).unwrap();
        let first: Vec<usize> = (0..12).map(|hash| table.member(hash)).collect();
        assert_eq!(
            first, FIRST_PLACES,
            "hosts of different versions would send connections to different members"
        );
    }

    /// What `tables_are_the_same_in_every_build` found first.
    const FIRST_PLACES: [usize; 12] = [2, 2, 0, 0, 1, 2, 0, 1, 1, 1, 1, 2];

    #[test]
    fn hashes_are_the_same_in_every_build() {
        let tuple = |source: &str| Tuple {
            source: source.parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            source_port: 40_000_u16.to_be(),
            destination_port: 80_u16.to_be(),
            in_port: 1,
            protocol: 6,
        };
        assert_eq!(connection_hash(&tuple("10.0.0.1"), false), 0x4fac_d08a_bd17_fc55);
        assert_eq!(connection_hash(&tuple("10.0.0.1"), true), 0x4299_ed7e_b94d_f840);
    }

    #[test]
    fn nobody_with_a_weight_is_no_table() {
        assert_eq!(MaglevTable::new(Vec::new(), PLACES_DEFAULT), None);
        assert_eq!(MaglevTable::new(vec![Candidate { id_hash: 1, weight: 0 }], PLACES_DEFAULT), None);
    }

    #[test]
    fn sizes_are_primes_within_limits() {
        for (places, fits) in
            [(65_537, true), (65_536, false), (1021, true), (1019, false), (655_373, true), (655_379, false)]
        {
            assert_eq!(is_size(places), fits, "{places}");
        }
    }
}
