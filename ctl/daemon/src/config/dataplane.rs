//! The table `[dataplane]` of the configuration file.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::check::{Check, mistake};
use super::spanless;

/// Letters of an instance's name; it becomes the name of a directory.
pub const INSTANCE_LETTERS_MAX: usize = 64;
/// Name of the instance whose pins and interfaces have the plain names.
pub const DEFAULT_INSTANCE: &str = "default";

/// The dataplane.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataplane {
    /// False: the daemon keeps desired state and carries no traffic.
    pub enabled: bool,
    /// `off`: the engine carries all traffic alone.
    pub fast_path: Switch,
    /// Worker threads; 0 is one for each of `worker_cpus`, or for every four CPUs where that is empty.
    pub workers: Spanned<usize>,
    /// CPUs that the workers are pinned to; empty leaves them to the scheduler.
    pub worker_cpus: Spanned<Vec<usize>>,
    /// Packet buffers of each worker, 4 KiB each.
    pub frames: Spanned<u32>,
    /// How long a worker polls without a packet before it sleeps, in microseconds.
    pub spin_us: u32,
    /// False: packets are copied even where the driver could do without.
    pub zero_copy: bool,
    /// How long the kernel polls an interface on behalf of a worker, in microseconds; 0 leaves that to interrupts.
    pub busy_poll_us: u32,
    /// Entries of the flow table, two for each connection.
    pub flow_table_entries: Spanned<u32>,
    /// Most connections at a time.
    pub sessions: Spanned<u32>,
    /// Tells several daemons of one machine apart.
    pub instance: Spanned<String>,
    /// The kernel programs; looked for where left out.
    pub ebpf_object: Option<PathBuf>,
    /// New connections per second that one port may open; 0 is no limit.
    pub new_flows_per_second_per_port: u32,
    /// ICMP errors per second that the gateway sends; 0 is no limit.
    pub icmp_errors_per_second: u32,
    /// What security groups deny is logged, within `denied_logs_per_second`.
    pub log_denied: bool,
    /// Denied packets that are logged in a second; the others are counted.
    pub denied_logs_per_second: u32,
    /// TCP segments of connections that nothing is known of open them, as far as rules allow; false: only SYN does.
    pub tcp_pickup: bool,
    /// Idle times after which connections end.
    pub timeouts: Timeouts,
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// Idle times in seconds after which connections end.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub tcp_half_open_seconds: Spanned<u32>,
    /// TCP established.
    pub tcp_established_seconds: Spanned<u32>,
    /// TCP after a FIN or RST.
    pub tcp_closing_seconds: Spanned<u32>,
    /// UDP.
    pub udp_seconds: Spanned<u32>,
    /// ICMP queries.
    pub icmp_seconds: Spanned<u32>,
    /// SCTP before the handshake is complete.
    pub sctp_half_open_seconds: Spanned<u32>,
    /// SCTP established.
    pub sctp_established_seconds: Spanned<u32>,
    /// SCTP after a SHUTDOWN or ABORT.
    pub sctp_closing_seconds: Spanned<u32>,
    /// Protocols without ports and states.
    pub other_seconds: Spanned<u32>,
}

/// A timeout with its name, and the least that an RFC on NAT permits, where one does.
type Named<'a> = (&'static str, &'a Spanned<u32>, Option<(u32, &'static str)>);

impl Timeouts {
    /// Every timeout.
    fn all(&self) -> [Named<'_>; 9] {
        [
            ("tcp_half_open_seconds", &self.tcp_half_open_seconds, Some((240, "RFC 5382, REQ-5"))),
            ("tcp_established_seconds", &self.tcp_established_seconds, Some((7440, "RFC 5382, REQ-5"))),
            ("tcp_closing_seconds", &self.tcp_closing_seconds, Some((240, "RFC 5382, REQ-5"))),
            ("udp_seconds", &self.udp_seconds, Some((120, "RFC 4787, REQ-5"))),
            ("icmp_seconds", &self.icmp_seconds, Some((60, "RFC 5508, REQ-2"))),
            ("sctp_half_open_seconds", &self.sctp_half_open_seconds, None),
            ("sctp_established_seconds", &self.sctp_established_seconds, None),
            ("sctp_closing_seconds", &self.sctp_closing_seconds, None),
            ("other_seconds", &self.other_seconds, None),
        ]
    }

    /// What is below what the RFCs permit: it works, and breaks applications that count on them.
    pub fn warnings(&self) -> Vec<String> {
        let below = self.all().into_iter().filter_map(|(name, timeout, minimum)| {
            let (seconds, (least, source)) = (*timeout.get_ref(), minimum?);
            (seconds < least).then(|| {
                format!(
                    "dataplane.timeouts.{name} = {seconds} is less than the {least} that {source} asks for"
                )
            })
        });
        below.collect()
    }
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            enabled: true,
            fast_path: Switch::On,
            workers: spanless(0),
            worker_cpus: spanless(Vec::new()),
            frames: spanless(16_384),
            spin_us: 20,
            zero_copy: true,
            busy_poll_us: 0,
            flow_table_entries: spanless(1 << 19),
            sessions: spanless(1 << 16),
            instance: spanless(DEFAULT_INSTANCE.to_owned()),
            ebpf_object: None,
            new_flows_per_second_per_port: 50_000,
            icmp_errors_per_second: 1000,
            log_denied: false,
            denied_logs_per_second: 10,
            tcp_pickup: false,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_half_open_seconds: spanless(240),
            tcp_established_seconds: spanless(7440),
            tcp_closing_seconds: spanless(240),
            udp_seconds: spanless(300),
            icmp_seconds: spanless(60),
            sctp_half_open_seconds: spanless(240),
            sctp_established_seconds: spanless(7440),
            sctp_closing_seconds: spanless(240),
            other_seconds: spanless(600),
        }
    }
}

impl Check<'_> {
    pub(super) fn dataplane(&mut self, dataplane: &Dataplane) {
        let instance = dataplane.instance.get_ref();
        let well_formed = (1..=INSTANCE_LETTERS_MAX).contains(&instance.len())
            && instance.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !well_formed {
            let fix = format!("1 to {INSTANCE_LETTERS_MAX} letters, digits, `-` and `_`");
            self.refuse("dataplane.instance", &dataplane.instance, &fix);
        }
        let entries = *dataplane.flow_table_entries.get_ref();
        if !entries.is_power_of_two() || !(1 << 10..=1 << 24).contains(&entries) {
            let fix = "a power of two from 1024 to 16777216";
            self.refuse("dataplane.flow_table_entries", &dataplane.flow_table_entries, fix);
        }
        let sessions = *dataplane.sessions.get_ref();
        if sessions == 0 || sessions > entries / 2 {
            let fix = format!("from 1 to half of flow_table_entries, {}", entries / 2);
            self.refuse("dataplane.sessions", &dataplane.sessions, &fix);
        }
        if *dataplane.workers.get_ref() > 64 {
            self.refuse("dataplane.workers", &dataplane.workers, "at most 64; 0 chooses by the CPUs");
        }
        self.worker_cpus(dataplane);
        if !(1024..=1 << 22).contains(dataplane.frames.get_ref()) {
            self.refuse("dataplane.frames", &dataplane.frames, "from 1024 to 4194304");
        }
        for (name, timeout, _) in dataplane.timeouts.all() {
            if !(1..=86_400 * 7).contains(timeout.get_ref()) {
                self.refuse(&format!("dataplane.timeouts.{name}"), timeout, "from 1 second to 7 days");
            }
        }
    }

    fn worker_cpus(&mut self, dataplane: &Dataplane) {
        let (cpus, workers) = (dataplane.worker_cpus.get_ref(), *dataplane.workers.get_ref());
        let repeated = cpus.iter().enumerate().any(|(index, cpu)| cpus[..index].contains(cpu));
        let fix = if repeated {
            "each CPU once".to_owned()
        } else if !cpus.is_empty() && workers != 0 && cpus.len() != workers {
            format!("one CPU for each of the {workers} workers, or none")
        } else {
            return;
        };
        let message = format!("`dataplane.worker_cpus = {cpus:?}` cannot be: {fix}");
        self.mistakes.push(mistake(self.text, &dataplane.worker_cpus.span(), message));
    }
}
