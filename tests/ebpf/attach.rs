//! Links, pins and the trunk on real interfaces, in network namespaces made for the test.

use std::path::Path;

use edgestack_dataplane::fastpath::{
    Attached, FastPath, FastPathError, FastPathSettings, Hook, TableSizes, trunk_names,
};
use edgestack_dataplane::io::interface::Interfaces;
use edgestack_tests::Namespace;
use edgestack_tests::namespace::unique_prefix;

use crate::instance::Instance;

const SIZES: TableSizes = TableSizes { buckets: 64, sessions: 64 };

fn index(name: &str) -> u32 {
    Interfaces::open().unwrap().find(name).unwrap().expect(name).index
}

fn in_namespace(test: impl FnOnce(&Namespace, &str) + Send) {
    let prefix = unique_prefix();
    let namespace = Namespace::create(&prefix).expect("make a namespace");
    namespace.enter(|| test(&namespace, &prefix)).expect("enter the namespace");
}

fn programs_of(namespace: &Namespace, interface: &str) -> String {
    namespace.run(&format!("ip -details link show {interface}")).expect("ip link")
}

#[test]
fn tables_and_links_outlive_the_process_and_are_adopted() {
    in_namespace(|namespace, prefix| {
        namespace.run("ip link add port0 type veth peer name far0").unwrap();
        let instance = Instance::new(prefix, SIZES);
        let mut first = instance.load();
        assert!(!first.adopted());
        let seed = first.regions().unwrap().control.read(0).hash_seed;
        assert_ne!(seed, 0);
        first
            .regions()
            .unwrap()
            .sessions
            .write(5, edgestack_abi::Session { created_ticks: 99, ..edgestack_abi::Session::default() });
        let port = index("port0");
        assert_eq!(first.attach_xdp("a", port).unwrap(), Attached::New);
        assert_eq!(first.attach_tc("a", port).unwrap(), Attached::New);
        drop(first);
        assert!(programs_of(namespace, "port0").contains("xdp"), "the link holds without a process");

        let other_sizes =
            FastPathSettings { sizes: TableSizes { buckets: 128, sessions: 7 }, ..instance.settings.clone() };
        let mut second = FastPath::load(&other_sizes).unwrap();
        assert!(second.adopted());
        assert_eq!(second.sizes(), SIZES, "pinned tables keep their sizes");
        let regions = second.regions().unwrap();
        assert_eq!(regions.control.read(0).hash_seed, seed);
        assert_eq!(regions.sessions.read(5).created_ticks, 99);
        assert_eq!(second.attached_interface("a", Hook::Xdp).unwrap(), Some(port));
        assert_eq!(second.attach_xdp("a", port).unwrap(), Attached::Replaced);
        assert_eq!(second.attach_tc("a", port).unwrap(), Attached::Replaced);

        second.detach("a", Hook::Xdp).unwrap();
        assert!(!programs_of(namespace, "port0").contains("prog/xdp"));
        assert_eq!(second.attached_interface("a", Hook::Xdp).unwrap(), None);
        second.detach("a", Hook::Xdp).expect("nothing to detach is no error");
        assert_eq!(second.detach_others(&["a"]).unwrap(), 0);
        assert_eq!(second.detach_others(&["b"]).unwrap(), 1);
        drop(second);

        let anew = FastPath::load(&FastPathSettings { recreate: true, ..other_sizes }).unwrap();
        assert!(!anew.adopted());
        assert_eq!(anew.sizes().buckets, 128);
        drop(anew);
        std::fs::remove_file(instance.pins().join("SESSIONS")).unwrap();
        let whole = instance.load();
        assert!(!whole.adopted(), "tables that are not all there are made anew");
        assert_eq!(whole.sizes(), SIZES);
        FastPath::unpin(&instance.settings.pin_root, prefix).unwrap();
        assert!(!instance.pins().exists());
    });
}

#[test]
fn a_link_of_an_interface_that_is_gone_is_made_anew() {
    in_namespace(|namespace, prefix| {
        let instance = Instance::new(prefix, SIZES);
        let mut fast_path = instance.load();
        namespace.run("ip link add port0 type veth peer name far0").unwrap();
        fast_path.attach_xdp("a", index("port0")).unwrap();
        namespace.run("ip link delete port0").unwrap();
        assert_eq!(fast_path.attached_interface("a", Hook::Xdp).unwrap(), Some(0));
        namespace.run("ip link add port0 type veth peer name far0").unwrap();
        assert_eq!(fast_path.attach_xdp("a", index("port0")).unwrap(), Attached::Moved);
        assert_eq!(fast_path.attach_xdp("a", index("far0")).unwrap(), Attached::Moved);
        assert!(!programs_of(namespace, "port0").contains("prog/xdp"));
        assert!(programs_of(namespace, "far0").contains("prog/xdp"));
        let error = fast_path.attach_tc("a", 60_000).unwrap_err();
        assert!(error.to_string().contains("the interface is gone"), "{error}");
    });
}

#[test]
fn an_interface_that_others_use_is_refused_with_the_way_out() {
    in_namespace(|namespace, prefix| {
        let (ours, others) = (Instance::new(prefix, SIZES), Instance::new(&format!("{prefix}-other"), SIZES));
        namespace.run("ip link add port0 type veth peer name far0").unwrap();
        others.load().attach_xdp("a", index("port0")).unwrap();
        let error = ours.load().attach_xdp("a", index("port0")).unwrap_err();
        assert!(matches!(&error, FastPathError::Attach { hook: Hook::Xdp, .. }), "{error}");
        assert!(error.to_string().contains("another XDP program"), "{error}");
    });
}

#[test]
fn the_trunk_is_made_adopted_and_removed() {
    in_namespace(|namespace, prefix| {
        let instance = Instance::new(prefix, SIZES);
        let [kernel, engine] = trunk_names(prefix);
        let mut fast_path = instance.load();
        let trunk = fast_path.set_up_trunk(2).unwrap();
        assert_eq!((trunk.kernel_index, trunk.engine_index), (index(&kernel), index(&engine)));
        assert!(programs_of(namespace, &engine).contains("prog/xdp"));
        assert!(programs_of(namespace, &kernel).contains("state UP"));
        let features = namespace.run(&format!("ethtool -k {kernel}")).unwrap();
        for off in ["tx-checksumming: off", "tx-vlan-offload: off", "tcp-segmentation-offload: off"] {
            assert!(features.contains(off), "{off} in {features}");
        }
        drop(fast_path);
        let mut fast_path = instance.load();
        assert_eq!(fast_path.set_up_trunk(2).unwrap(), trunk, "the trunk is adopted");
        let other = fast_path.set_up_trunk(1).unwrap();
        assert_ne!(other.engine_index, trunk.engine_index, "another number of queues makes another trunk");
        FastPath::unpin(&instance.settings.pin_root, prefix).unwrap();
        assert_eq!(Interfaces::open().unwrap().find(&kernel).unwrap(), None);
    });
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let refused = |settings: FastPathSettings| FastPath::load(&settings).expect_err("refused").to_string();
    let error =
        refused(FastPathSettings { object_path: Some("/no/such.o".into()), ..FastPathSettings::default() });
    assert!(error.contains("/no/such.o") && error.contains("make ebpf"), "{error}");
    let sizes = TableSizes { buckets: 1000, ..SIZES };
    let error = refused(FastPathSettings { sizes, ..FastPathSettings::default() });
    assert!(error.contains("buckets = 1000"), "{error}");
    let error = refused(FastPathSettings { instance: "a/b".to_owned(), ..FastPathSettings::default() });
    assert!(error.contains("a/b"), "{error}");
    let directory = std::env::temp_dir().join(unique_prefix());
    let error = refused(FastPathSettings { pin_root: directory.clone(), ..FastPathSettings::default() });
    let _ = std::fs::remove_dir_all(&directory);
    assert!(error.contains("not on a BPF file system"), "{error}");
    assert!(Path::new("/sys/fs/bpf").exists());
}
