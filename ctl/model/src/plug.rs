//! Plugs: interfaces that the daemon makes for a port's workload, and removes with the port.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reader::{Reader, Refusal};
use crate::value;

/// Name of the workload's interface where none is given.
pub const GUEST_INTERFACE: &str = "eth0";
/// Letters of a namespace's name: it is a file's name.
const NAMESPACE_LETTERS_MAX: usize = 255;
/// The largest id that a process can have.
const PID_MAX: u64 = 1 << 22;

/// An interface that the daemon makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plug {
    /// What is made.
    #[serde(rename = "type")]
    pub kind: PlugKind,
    /// Of a veth pair: the workload's network namespace, by its name below /run/netns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Of a veth pair: a process in the workload's network namespace, in place of `namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When that process was started, in the kernel's ticks, so that no other is taken for it; filled in by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_started: Option<u64>,
    /// Of a veth pair: name of the workload's end; `eth0` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_interface: Option<String>,
    /// Of a veth pair: false leaves addresses and default route to the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configure: Option<bool>,
    /// Of a tap: id of the user who may open it beside root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
}

/// What a plug makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlugKind {
    /// A tap, for a program that plays a machine.
    Tap,
    /// A veth pair, whose other end is in the workload's network namespace.
    Veth,
}

impl PlugKind {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 2] = [("tap", Self::Tap), ("veth", Self::Veth)];
}

impl Plug {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let kind = reader.required("type", "`tap` or `veth`", |kind| value::word(kind, &PlugKind::WORDS));
        let namespace = reader.optional("namespace", read_namespace);
        let pid = reader.optional("pid", |pid| value::integer(pid, 1, PID_MAX));
        let pid_started = reader.optional("pid_started", |ticks| value::integer(ticks, 0, u64::MAX));
        let guest_interface = reader.optional("guest_interface", value::interface);
        let configure = reader.optional("configure", value::boolean);
        let owner = reader.optional("owner", |owner| value::integer(owner, 0, u32::MAX.into()));
        let kind = kind?;
        let foreign: &[&str] = match kind {
            PlugKind::Tap => &["namespace", "pid", "guest_interface", "configure"],
            PlugKind::Veth => &["owner"],
        };
        for field in foreign {
            if !reader.has(field) {
                continue;
            }
            let message = format!("`{field}` is not for a plug of this type");
            reader
                .refuse(field, Refusal::new("not_allowed", message, "leave it out, or take the other type"));
        }
        if kind == PlugKind::Veth && reader.has("namespace") == reader.has("pid") {
            let message = "the other end of a veth pair is in one network namespace";
            let hint = "give its name as `namespace`, or a process in it as `pid`";
            reader.refuse("namespace", Refusal::new("missing", message, hint));
        }
        Some(Self {
            kind,
            namespace,
            pid: pid.map(|pid| pid as u32),
            pid_started,
            guest_interface,
            configure,
            owner: owner.map(|owner| owner as u32),
        })
    }

    /// Name of the workload's end of a veth pair.
    pub fn guest_interface(&self) -> &str {
        self.guest_interface.as_deref().unwrap_or(GUEST_INTERFACE)
    }
}

/// The name of a network namespace, as `ip netns` has it.
fn read_namespace(value: &Value) -> Result<String, Refusal> {
    let text = value::text(value)?;
    let well_formed = (1..=NAMESPACE_LETTERS_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if well_formed {
        return Ok(text);
    }
    let message = format!("`{text}` is no name of a network namespace");
    Err(Refusal::new("invalid_namespace", message, "a name that `ip netns` lists: no path, no spaces"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::PortSpec;
    use crate::meta::tests::{accepted, refusals};

    fn port(plug: &Value) -> Value {
        json!({"port": {"name": "a", "network": "n", "plug": plug}})
    }

    #[test]
    fn a_plug_is_a_tap_or_leads_into_one_namespace() {
        let tap = accepted::<PortSpec>(&port(&json!({"type": "tap", "owner": 64055}))).spec.plug.unwrap();
        assert_eq!(tap.owner, Some(64055));
        let veth =
            accepted::<PortSpec>(&port(&json!({"type": "veth", "namespace": "blue"}))).spec.plug.unwrap();
        assert_eq!((veth.guest_interface(), veth.configure), ("eth0", None));
        for (plug, pointer, code) in [
            (json!({"namespace": "blue"}), "type", "missing"),
            (json!({"type": "bridge"}), "type", "invalid_value"),
            (json!({"type": "veth"}), "namespace", "missing"),
            (json!({"type": "veth", "namespace": "blue", "pid": 7}), "namespace", "missing"),
            (json!({"type": "veth", "namespace": "../../proc/1/ns/net"}), "namespace", "invalid_namespace"),
            (json!({"type": "veth", "pid": 0}), "pid", "out_of_range"),
            (
                json!({"type": "veth", "pid": 7, "guest_interface": "a/b"}),
                "guest_interface",
                "invalid_interface",
            ),
            (json!({"type": "veth", "pid": 7, "owner": 0}), "owner", "not_allowed"),
            (json!({"type": "tap", "namespace": "blue"}), "namespace", "not_allowed"),
        ] {
            let found = refusals::<PortSpec>(&port(&plug));
            assert_eq!(found, [(format!("/port/plug/{pointer}"), code.to_owned())], "{plug}");
        }
    }
}
