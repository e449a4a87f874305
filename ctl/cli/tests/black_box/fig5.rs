//! The commands of the white paper's Fig 5, one by one: those whose objects there are have their words, arguments and
//! flags; those of later objects are listed, so that none is forgotten.

use serde_json::json;

use crate::support::{Answer, FakeDaemon, Run, edgectl_without_daemon};

/// Commands of objects that there are: the positional arguments, and the flags.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("create-network", "<NAME>", "cidr type segment-id physnet gateway pool dns route mtu external"),
    ("list-networks", "[NETWORK]...", ""),
    ("show-network", "<NETWORK>", ""),
    ("remove-network", "<NETWORK>...", ""),
    ("network-cli", "", ""),
    ("test-ping", "<PORT> <DESTINATION>", "port size"),
    ("create-router", "<NAME>", "net external external-ip no-snat peer"),
    ("list-routers", "[ROUTER]...", ""),
    ("show-router", "<ROUTER>", ""),
    ("update-router", "<ROUTER>", "add-net remove-net external external-ip snat no-snat clear-external"),
    ("remove-router", "<ROUTER>...", ""),
    ("create-peer-router", "<ROUTER>", "ip mac"),
    ("remove-peer-router", "<ROUTER>", "ip"),
    ("create-fip", "[ADDRESS]", "net name router port"),
    ("list-fips", "[FIP]...", "unassociated"),
    ("associate-fip", "<FIP> [PORT]", "net fixed-ip reassociate"),
    ("disassociate-fip", "<FIP>", ""),
    ("remove-fip", "<FIP>...", ""),
    ("create-sg", "<NAME>", "description rule"),
    ("list-sgs", "[SG]...", ""),
    ("show-sg", "<SG>", ""),
    ("remove-sg", "<SG>...", ""),
    ("create-sgr", "<GROUP>", "direction protocol port remote-ip remote-sg ether description"),
    ("remove-sgr", "<NAME>...", "match"),
];

/// Commands whose objects come later.
const LATER: &str = "\
create-vm list-vms show-vm start-vm stop-vm restart-vm pause-vm unpause-vm remove-vm edit-vm-sg show-vm-events \
show-vm-logs show-vm-manifest show-guest-info show-login-users create-image list-images show-image remove-image \
create-flavor list-flavors show-flavor remove-flavor create-lb list-lbs show-lb update-lb remove-lb create-lbr \
remove-lbr create-sriov-network list-sriov-networks remove-sriov-network create-sriov-policy remove-sriov-policy \
list-sriov-pfs list-sriov-vfs list-sriov-intfs create-vol list-vols show-vol remove-vol list-sces show-sc \
create-keypair list-keypairs show-keypair remove-keypair list-nodes show-node";

/// Columns that each list is specified to have, and behind them those of `-o wide`.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("list-networks", "NAME TYPE SEGMENT CIDR GATEWAY MTU ROUTER USED/TOTAL", "PHYSNET DNS EXTERNAL PORTS"),
    ("list-routers", "NAME SNAT INTERNAL EXTERNAL GATEWAY-NODE PEER STATUS", ""),
    ("list-fips", "NAME ADDRESS NETWORK VM FIXED-IP ROUTER STATUS", ""),
    ("list-lbs", "NAME VIP NETWORK RULES MEMBERS STATUS", "FIP ALGO GW"),
    ("list-sgs", "NAME RULES USED-BY DESCRIPTION", ""),
    ("list-sgrs", "ID DIR ETHER PROTO PORTS REMOTE", ""),
    ("list-flavors", "NAME VCPU MEMORY DISK CPU-POLICY HUGEPAGES IN-USE", ""),
    ("list-keypairs", "NAME TYPE FINGERPRINT COMMENT AGE", ""),
    ("list-nodes", "NAME STATUS ROLES IP VCPU MEM VMS VERSION AGE", "DATA-IP KERNEL GPU VFS TAINTS"),
];

/// Columns that are not there, and what stands for them.
const NOT_THERE: &[(&str, &str, &str)] = &[
    ("list-routers", "GATEWAY-NODE", "nothing: every host routes for its own workloads"),
    ("list-fips", "VM", "FOR, a workload or a load balancer"),
    ("list-lbs", "FIP", "list-fips"),
    ("list-lbs", "ALGO", "nothing: there is one, AFFINITY is what can be chosen"),
    ("list-lbs", "GW", "nothing: every host balances for its own workloads"),
    ("list-flavors", "CPU-POLICY", "nothing: flavors have no such field yet"),
    ("list-flavors", "HUGEPAGES", "nothing: flavors have no such field yet"),
    ("list-flavors", "IN-USE", "nothing until there are virtual machines"),
    ("list-nodes", "VMS", "nothing until there are virtual machines"),
    ("list-nodes", "DATA-IP", "list-nodes IP: there is one"),
    ("list-nodes", "GPU", "nothing until there are virtual machines"),
    ("list-nodes", "VFS", "nothing until there is SR-IOV"),
    ("list-nodes", "TAINTS", "STATUS, which says cordoned"),
];

fn help(command: &str) -> Run {
    Run::of(&edgectl_without_daemon().args([command, "--help"]).output().unwrap())
}

#[test]
fn all_74_commands_are_known() {
    assert_eq!(COMMANDS.len() + LATER.split(' ').count(), 74);
}

#[test]
fn every_command_of_what_there_is_has_its_arguments_and_flags() {
    for (command, arguments, flags) in COMMANDS {
        let help = help(command).fine();
        let usage = help.lines().find(|line| line.starts_with("Usage: ")).unwrap_or_default();
        assert!(usage.contains(arguments), "{command}: {arguments} is not in {usage}");
        for flag in flags.split(' ').filter(|flag| !flag.is_empty()) {
            assert!(help.contains(&format!("--{flag}")), "{command} has no --{flag}");
        }
    }
}

#[test]
fn a_command_that_comes_later_is_refused_or_whole() {
    for command in LATER.split(' ') {
        let result = help(command);
        let refused = result.code == Some(2) && result.stderr.contains("unrecognized subcommand");
        let whole = result.code == Some(0) && result.stdout.contains("Usage: edgectl");
        assert!(refused || whole, "{command}: {result:?}");
    }
}

#[test]
fn lists_have_the_columns_that_are_specified() {
    // One object of every kind, of which nothing is known.
    let daemon = FakeDaemon::start(|request| {
        let kind = request.path.rsplit('/').next().unwrap_or_default();
        Answer::json(200, &json!({ kind: [{"id": "0199", "name": "one"}], "total": 1 }))
    });
    for (command, columns, wide) in COLUMNS {
        let headers = |form: &str| -> Vec<String> {
            let table = daemon.run(&[command, "-o", form]).fine();
            table.lines().next().unwrap().split_whitespace().map(str::to_owned).collect()
        };
        for (form, specified) in [("table", columns.to_string()), ("wide", format!("{columns} {wide}"))] {
            let there = headers(form);
            let missing: Vec<&str> = specified
                .split_whitespace()
                .filter(|column| !there.iter().any(|one| one == column))
                .collect();
            let known: Vec<&str> = NOT_THERE
                .iter()
                .filter(|(of, column, _)| {
                    of == command && specified.split_whitespace().any(|one| one == *column)
                })
                .map(|(_, column, _)| *column)
                .collect();
            assert_eq!(missing, known, "{command} -o {form} has {there:?}");
        }
        // In the order in which they are specified.
        let there = headers("table");
        let places = columns.split(' ').filter_map(|column| there.iter().position(|one| one == column));
        assert!(places.is_sorted(), "{command} has {there:?}");
    }
}
