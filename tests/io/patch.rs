//! A patch cable in user space: two veth interfaces, an AF_XDP socket on each, and a loop that carries every frame
//! from one to the other, all in one pool.

use std::path::PathBuf;

use aya::maps::XskMap;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use edgestack_abi::maps::{PROGRAM_XDP_TRUNK, SOCKETS};
use edgestack_dataplane::io::Port;
use edgestack_dataplane::io::interface::Interfaces;
use edgestack_dataplane::io::xsk::{XskSettings, XskSocket, XskStatistics};
use edgestack_dataplane::packet::{BATCH_SIZE, FramePool, Packet};

/// One end: the socket, and the program that hands it every frame of the interface.
pub(crate) struct End {
    pub(crate) port: Port,
    _programs: Ebpf,
}

/// Both ends and the memory that they share.
pub(crate) struct Patch {
    pub(crate) pool: FramePool,
    pub(crate) ends: [End; 2],
    batch: Vec<Packet>,
}

/// Where `make ebpf` puts the kernel programs.
pub(crate) fn object_path() -> PathBuf {
    match std::env::var_os("EDGESTACK_EBPF_OBJECT") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/edgestack.o"),
    }
}

impl Patch {
    /// Joins two interfaces of the calling thread's namespace.
    pub(crate) fn join(interfaces: [&str; 2], frames: u32, settings: &XskSettings) -> Self {
        let mut pool = FramePool::new(frames).expect("memory for the frames");
        let ends = interfaces.map(|name| End::open(name, &mut pool, settings));
        Self { pool, ends, batch: Vec::new() }
    }

    /// Carries what has come; returns how many frames.
    pub(crate) fn turn(&mut self) -> usize {
        let mut carried = 0;
        for (from, to) in [(0, 1), (1, 0)] {
            carried += self.ends[from].port.receive(&mut self.pool, 1, &mut self.batch, BATCH_SIZE);
            for packet in self.batch.drain(..) {
                if let Err(packet) = self.ends[to].port.transmit(&mut self.pool, packet) {
                    self.pool.free(packet);
                }
            }
            self.ends[to].port.flush();
        }
        for end in &mut self.ends {
            end.port.recycle(&mut self.pool);
        }
        carried
    }

    /// Closes both sockets and returns the pool.
    pub(crate) fn close(mut self) -> FramePool {
        let mut frames = Vec::new();
        for end in self.ends {
            end.port.close(&mut frames);
        }
        for frame in frames {
            self.pool.free_frame(frame);
        }
        self.pool
    }
}

impl End {
    fn open(name: &str, pool: &mut FramePool, settings: &XskSettings) -> Self {
        let interface = Interfaces::open().and_then(|all| all.find(name)).expect("ask for the interface");
        let index = interface.unwrap_or_else(|| panic!("no interface {name}")).index;
        let socket = XskSocket::open(pool.memory(), index, 0, settings, 2).expect("open a socket");
        let mut port = Port::Xsk(Box::new(socket));
        port.recycle(pool);
        let mut programs = EbpfLoader::new().load_file(object_path()).expect("load the kernel programs");
        let mut sockets = XskMap::try_from(programs.map_mut(SOCKETS).expect("the map")).expect("of sockets");
        sockets.set(0, port.descriptor().expect("a socket"), 0).expect("put the socket into the map");
        let program = programs.program_mut(PROGRAM_XDP_TRUNK).expect("the program");
        let program: &mut Xdp = program.try_into().expect("an XDP program");
        program.load().expect("load the program");
        program.attach_to_if_index(index, XdpMode::Driver).expect("attach the program");
        Self { port, _programs: programs }
    }

    pub(crate) fn statistics(&self) -> XskStatistics {
        match &self.port {
            Port::Xsk(socket) => socket.statistics().expect("ask for statistics"),
            _ => XskStatistics::default(),
        }
    }
}
