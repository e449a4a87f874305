//! Which member a client of a load balancer with session affinity went to last.
//!
//! Only a memory of choices: without it, or when it is full, clients are sent by the hash of their address, which is where
//! most of them were. So it is bounded, and not kept over a restart.

use std::net::IpAddr;

use hashbrown::HashMap;

/// Clients that are remembered, of all load balancers.
pub const CLIENTS_MAX: usize = 65_536;
/// When full, what is over is looked for this often, in ticks.
const SWEEP_INTERVAL_TICKS: u32 = 10;

/// A client of a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Hash of the load balancer's id.
    pub load_balancer: u64,
    /// The client's address.
    pub address: IpAddr,
}

/// A choice to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Hash of the member's identifier.
    pub member: u64,
    /// How long it holds after the client's last new connection.
    pub ticks: u32,
}

/// The choices.
#[derive(Debug, Default)]
pub struct AffinityTable {
    choices: HashMap<Client, (Choice, u32)>,
    swept_ticks: u32,
}

impl AffinityTable {
    /// The member that a client went to, while that holds.
    pub fn member(&self, client: &Client, now_ticks: u32) -> Option<u64> {
        let (choice, made_ticks) = self.choices.get(client)?;
        is_held(choice, *made_ticks, now_ticks).then_some(choice.member)
    }

    /// Remembers a choice, where there is room.
    pub fn remember(&mut self, client: Client, choice: Choice, now_ticks: u32) {
        if self.choices.len() >= CLIENTS_MAX && !self.choices.contains_key(&client) {
            if now_ticks.wrapping_sub(self.swept_ticks) < SWEEP_INTERVAL_TICKS {
                return;
            }
            self.swept_ticks = now_ticks;
            self.choices.retain(|_, (choice, made_ticks)| is_held(choice, *made_ticks, now_ticks));
            if self.choices.len() >= CLIENTS_MAX {
                return;
            }
        }
        self.choices.insert(client, (choice, now_ticks));
    }
}

fn is_held(choice: &Choice, made_ticks: u32, now_ticks: u32) -> bool {
    now_ticks.wrapping_sub(made_ticks) < choice.ticks
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{AffinityTable, CLIENTS_MAX, Choice, Client};

    fn client(number: u32) -> Client {
        Client { load_balancer: 1, address: IpAddr::V4(Ipv4Addr::from_bits(number)) }
    }

    #[test]
    fn a_choice_holds_for_its_time_after_the_last_connection() {
        let mut table = AffinityTable::default();
        table.remember(client(1), Choice { member: 7, ticks: 100 }, 50);
        assert_eq!(table.member(&client(1), 149), Some(7));
        assert_eq!(table.member(&client(1), 150), None);
        assert_eq!(table.member(&client(2), 60), None);
        table.remember(client(1), Choice { member: 7, ticks: 100 }, 149);
        assert_eq!(table.member(&client(1), 248), Some(7));
    }

    #[test]
    fn a_full_table_forgets_what_is_over_and_nothing_else() {
        let mut table = AffinityTable::default();
        for number in 0..CLIENTS_MAX as u32 {
            table.remember(client(number), Choice { member: 1, ticks: 100 + number % 2 * 1000 }, 0);
        }
        table.remember(client(u32::MAX), Choice { member: 2, ticks: 100 }, 50);
        assert_eq!(table.member(&client(u32::MAX), 51), None, "nothing is over yet");
        table.remember(client(u32::MAX), Choice { member: 2, ticks: 100 }, 200);
        assert_eq!(table.member(&client(u32::MAX), 201), Some(2));
        assert_eq!(table.member(&client(1), 201), Some(1));
        assert_eq!(table.member(&client(0), 201), None);
    }
}
