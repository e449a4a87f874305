//! The peer: the kernel's forwarding with nftables, masquerade and a stateful filter, tuned for many flows.

use edgestack_tests::command::words;

use super::BenchError;
use super::bed::{Bed, EXTERNAL_ADDRESS, GATEWAY_ADDRESS, SINK_ADDRESS};
use super::layout::DESTINATION_PORT;

/// Makes the gateway of a bed one of nftables.
pub fn configure(bed: &Bed) -> Result<(), BenchError> {
    let gateway = &bed.gateway;
    gateway.run(&format!("ip address add {GATEWAY_ADDRESS}/16 dev {}", bed.inside()))?;
    gateway.run(&format!("ip address add {EXTERNAL_ADDRESS}/24 dev {}", bed.outside()))?;
    gateway.run(&format!("ip route add default via {SINK_ADDRESS}"))?;
    for setting in [
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.rp_filter=0",
        // Flows of one direction stay as long as the bench runs, as those of ours do.
        "net.netfilter.nf_conntrack_udp_timeout=600",
        "net.netfilter.nf_conntrack_udp_timeout_stream=600",
        // Counting and checking what need not be would only slow the peer down.
        "net.netfilter.nf_conntrack_checksum=0",
        "net.netfilter.nf_conntrack_acct=0",
    ] {
        gateway.run(&format!("sysctl -q -w {setting}"))?;
    }
    let rules = format!(
        "table ip gateway {{
            chain forward {{
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname \"{inside}\" ip saddr 10.1.0.0/16 udp dport {DESTINATION_PORT} accept
                iifname \"{inside}\" ip saddr 10.1.0.0/16 tcp dport 5201 accept
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat; policy accept;
                oifname \"{outside}\" masquerade
            }}
        }}",
        inside = bed.inside(),
        outside = bed.outside(),
    );
    let mut command = words("nft");
    command.arg(rules);
    gateway.run_command(&mut command)?;
    Ok(())
}

/// Entries of the gateway's connection table.
pub fn connections(bed: &Bed) -> Result<u64, BenchError> {
    let count = bed.gateway.run("sysctl -n net.netfilter.nf_conntrack_count")?;
    count.trim().parse().map_err(|_| BenchError::Invalid(format!("`{count}` is no number of connections")))
}
