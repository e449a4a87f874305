//! The ways in which a case is run. What leaves must be the same in all of them.

use std::sync::Arc;

use edgestack_dataplane::config::{Config, SecurityGroup};

/// How a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The engine alone, which decides every packet or finds its flow.
    Engine,
    /// As above, and before every step the configuration changes in a way that changes no decision, so that
    /// every flow is decided again in the middle of its life.
    Change,
    /// Before every step the engine is replaced by a new one over the same memory, as by a restart of the daemon.
    Restart,
    /// Every packet goes to the kernel's XDP program first, and to the engine only if that hands it on.
    #[cfg(feature = "root")]
    Xdp,
    /// Every packet goes to the kernel's TC program first.
    #[cfg(feature = "root")]
    Tc,
}

impl Mode {
    /// The modes that this build can run.
    #[cfg(not(feature = "root"))]
    pub(crate) const ALL: &'static [Self] = &[Self::Engine, Self::Change, Self::Restart];
    /// The modes that this build can run.
    #[cfg(feature = "root")]
    pub(crate) const ALL: &'static [Self] = &[Self::Engine, Self::Change, Self::Restart, Self::Xdp, Self::Tc];

    /// Name of the mode in the list of tests.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Change => "change",
            Self::Restart => "restart",
            #[cfg(feature = "root")]
            Self::Xdp => "xdp",
            #[cfg(feature = "root")]
            Self::Tc => "tc",
        }
    }
}

/// A configuration of equal effect to `config`, and different from that of another `round`: every rule stands
/// in its group several times, and there are groups that nobody uses.
pub(crate) fn equal_effect(config: &Config, round: usize) -> Config {
    let mut changed = config.clone();
    for group in changed.security_groups.iter_mut().map(Arc::make_mut) {
        let copies: Vec<_> = group
            .rules
            .iter()
            .map(|rule| {
                let mut copy = rule.clone();
                copy.id = format!("{}-copy-{round}", rule.id);
                copy
            })
            .collect();
        group.rules.extend(copies);
    }
    let id = format!("unused-{round}");
    changed.security_groups.push(Arc::new(SecurityGroup {
        name: id.clone(),
        id,
        log_denied: false,
        rules: Vec::new(),
    }));
    changed
}
