//! The commands of the white paper's Fig 5, one by one: those whose objects there are have their words, arguments and
//! flags; those of later objects are listed, so that none is forgotten.

use crate::support::{Run, edgectl_without_daemon};

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
