//! Fragment: what about a packet that is only a part of a datagram?
//!
//! The first part has the transport header and goes on like a whole packet; what is decided about it holds for the
//! others, which wait until it has come. So parts pass translation, load balancing and the firewall in any order.
//!
//! Drops: `Fragment` (its datagram is dropped, or its first part never comes), `FragmentOverlap`.

use edgestack_abi::DropReason;
use edgestack_abi::flow::VALID;

use crate::pipeline::{Context, Stage};
use crate::tables::flow_table::EntryIndex;
use crate::tables::fragment_table::{DatagramKey, Forwarded, Standing};
use crate::trace::Trace;
use crate::wire::headers::{Fragment, Ip};

/// How a packet stands to its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is all of it.
    Whole,
    /// It is its first part.
    First(DatagramKey, Fragment),
    /// It is a later part, of a datagram whose first part was forwarded.
    Later(DatagramKey, Fragment, EntryIndex),
    /// It is a later part, and the first has not come.
    Early(DatagramKey),
}

/// Why a part is dropped, and the datagram that ends with it.
pub struct Refused {
    /// The reason.
    pub reason: DropReason,
    /// The datagram whose parts contradict each other.
    pub ends: Option<DatagramKey>,
}

/// Finds the packet's datagram.
pub fn run(context: &Context<'_>, ip: &Ip, in_port: u16, trace: &mut Trace) -> Result<Part, Refused> {
    let Some(fragment) = ip.fragment else { return Ok(Part::Whole) };
    let key = DatagramKey::of(in_port, ip, &fragment);
    let result = find(context, key, fragment);
    trace.step(Stage::Fragment, || match &result {
        Ok(Part::Whole | Part::First(..)) => "the first part of a datagram".to_owned(),
        Ok(Part::Later(..)) => "a later part of a datagram that is forwarded".to_owned(),
        Ok(Part::Early(_)) => "a part of a datagram whose first part has not come: it waits".to_owned(),
        Err(refused) => refused.reason.description().to_owned(),
    });
    result
}

fn find(context: &Context<'_>, key: DatagramKey, fragment: Fragment) -> Result<Part, Refused> {
    let refused = |reason, ends| Err(Refused { reason, ends });
    match context.fragments.standing(&key, &fragment) {
        Standing::Unknown if fragment.offset != 0 => Ok(Part::Early(key)),
        Standing::Unknown => Ok(Part::First(key, fragment)),
        Standing::Refused => refused(DropReason::Fragment, None),
        Standing::Overlaps => refused(DropReason::FragmentOverlap, Some(key)),
        // Its flow may have ended in the middle of the datagram. What was decided about its first part holds for all of it,
        // though, whatever the configuration is now.
        Standing::Forwarded(forwarded) => match entry_of(context, &forwarded) {
            Some(entry) => Ok(Part::Later(key, fragment, entry)),
            None => refused(DropReason::Fragment, None),
        },
    }
}

/// The entry that a datagram is forwarded by, where its flow still is what it was.
fn entry_of(context: &Context<'_>, forwarded: &Forwarded) -> Option<EntryIndex> {
    let session = context.sessions.get(forwarded.session)?;
    let index = if forwarded.is_reply { session.reply_entry } else { session.original_entry };
    let entry = context.flows.entry(index);
    (entry.key == forwarded.key && entry.verdict.flags & VALID != 0).then_some(index)
}
