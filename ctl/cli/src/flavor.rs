//! Flavors in commands: create-, list-, show-, update- and remove-flavor.

use clap::Args;
use edgestack_client::Kind;
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::fields::Fields;
use crate::noun::{Column, Create, NoFilter, Noun, Update, Verb};
use crate::session::Session;
use crate::value::{age_since, list, name, text};

/// Arguments of create-flavor.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the flavor
    pub name: String,
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER")]
    pub cpu: u32,
    /// Memory, like 4Gi or 512Mi
    #[arg(long, value_name = "SIZE", value_parser = parse_mib)]
    pub memory: u64,
    #[command(flatten)]
    pub more: MoreArgs,
}

/// Arguments of update-flavor.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Virtual CPUs
    #[arg(long, value_name = "NUMBER")]
    pub cpu: Option<u32>,
    /// Memory, like 4Gi or 512Mi
    #[arg(long, value_name = "SIZE", value_parser = parse_mib)]
    pub memory: Option<u64>,
    #[command(flatten)]
    pub more: MoreArgs,
}

/// What create and update have in common.
#[derive(Debug, Args)]
pub(crate) struct MoreArgs {
    /// Size of the root disk in GiB; that of the image where left out
    #[arg(long, value_name = "GIB")]
    pub disk: Option<u32>,
    /// Size of a further disk in GiB, whose content ends with the machine
    #[arg(long, value_name = "GIB")]
    pub ephemeral: Option<u32>,
    /// Graphics processor of each machine (may be repeated)
    #[arg(long = "gpu", value_name = "NAME[=NUMBER]", value_parser = parse_device)]
    pub gpus: Vec<Value>,
    /// Device of the host for each machine (may be repeated)
    #[arg(long = "device", value_name = "NAME[=NUMBER]", value_parser = parse_device)]
    pub devices: Vec<Value>,
    /// Switch of the compute driver (may be repeated)
    #[arg(long = "spec", value_name = "KEY[=BOOL]", value_parser = parse_extra_spec)]
    pub specs: Vec<Value>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// Flavors in commands.
pub(crate) static NOUN: Noun = Noun {
    kind: Kind::Flavor,
    word: "flavor",
    plural: "flavors",
    aliases: &[],
    title: "Flavors",
    columns: &[
        Column { title: "NAME", wide: false, text: |flavor, _| name(flavor) },
        Column { title: "VCPU", wide: false, text: |flavor, _| text(flavor, "/vcpus") },
        Column { title: "MEMORY", wide: false, text: |flavor, _| size(&flavor["ram"], "Mi") },
        Column { title: "DISK", wide: false, text: |flavor, _| size(&flavor["root_disk"], "Gi") },
        Column { title: "EPHEMERAL", wide: false, text: |flavor, _| size(&flavor["ephemeral_disk"], "Gi") },
        Column { title: "GPUS", wide: false, text: |flavor, _| devices(flavor, "/gpus") },
        Column { title: "DEVICES", wide: true, text: |flavor, _| devices(flavor, "/devices") },
        Column { title: "DESCRIPTION", wide: true, text: |flavor, _| text(flavor, "/description") },
        Column { title: "AGE", wide: true, text: |flavor, _| age_since(&text(flavor, "/created_at")) },
        Column { title: "ID", wide: true, text: |flavor, _| text(flavor, "/id") },
    ],
    needs: &[],
    address_field: None,
    summary: |flavor| format!("{} vcpus, {}", text(flavor, "/vcpus"), size(&flavor["ram"], "Mi")),
    sections: |_, _| Vec::new(),
    verbs: &[
        Verb::create::<CreateArgs>("Create a flavor"),
        Verb::list::<NoFilter>("List flavors"),
        Verb::show("Show a flavor"),
        Verb::update::<UpdateArgs>("Change a flavor"),
        Verb::remove("Remove flavors; machines keep their size"),
    ],
};

impl Create for CreateArgs {
    fn fields(self) -> Map<String, Value> {
        let fields = Fields::new()
            .set("name", Some(self.name))
            .set("vcpus", Some(self.cpu))
            .set("ram", Some(self.memory));
        self.more.fields(fields)
    }
}

impl Update for UpdateArgs {
    async fn fields(self, _session: &Session, _name: &str) -> Result<Map<String, Value>, CliError> {
        Ok(self.more.fields(Fields::new().set("vcpus", self.cpu).set("ram", self.memory)))
    }
}

impl MoreArgs {
    fn fields(self, fields: Fields) -> Map<String, Value> {
        fields
            .set("root_disk", self.disk)
            .set("ephemeral_disk", self.ephemeral)
            .set_list("gpus", self.gpus)
            .set_list("devices", self.devices)
            .set_list("extra_specs", self.specs)
            .set("description", self.description)
            .done()
    }
}

/// `4Gi`, `512Mi`, `2G` or a plain number of MiB.
fn parse_mib(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "m" | "mi" | "mib" => 1,
        "g" | "gi" | "gib" => 1024,
        "t" | "ti" | "tib" => 1024 * 1024,
        _ => return Err("write it like 4Gi or 512Mi".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "write it like 4Gi or 512Mi".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too large"))
}

/// `name` or `name=number`.
fn parse_device(text: &str) -> Result<Value, String> {
    let (name, quantity) = text.split_once('=').unwrap_or((text, "1"));
    let quantity: u32 = quantity.parse().map_err(|_| format!("`{quantity}` is no number"))?;
    Ok(json!({ "name": name, "quantity": quantity }))
}

/// `key` or `key=false`.
fn parse_extra_spec(text: &str) -> Result<Value, String> {
    let (key, value) = text.split_once('=').unwrap_or((text, "true"));
    let value: bool = value.parse().map_err(|_| format!("`{value}` is neither true nor false"))?;
    Ok(json!({ "key": key, "value": value }))
}

/// A size with its unit, the larger one where it divides; nothing for none.
fn size(value: &Value, unit: &str) -> String {
    match (value.as_u64(), unit) {
        (None | Some(0), _) => String::new(),
        (Some(mib), "Mi") if mib % 1024 == 0 => format!("{}Gi", mib / 1024),
        (Some(number), unit) => format!("{number}{unit}"),
    }
}

fn devices(flavor: &Value, pointer: &str) -> String {
    let device = |device: &Value| match device["quantity"].as_u64() {
        Some(1) | None => name(device),
        Some(quantity) => format!("{}={quantity}", name(device)),
    };
    list(flavor, pointer).iter().map(device).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{parse_device, parse_extra_spec, parse_mib, size};

    #[test]
    fn sizes_are_read_and_shown_with_their_units() {
        for (text, mib) in [("4Gi", 4096), ("512Mi", 512), ("512", 512), ("1T", 1 << 20)] {
            assert_eq!(parse_mib(text), Ok(mib), "{text}");
        }
        for wrong in ["", "Gi", "4Gb", "99999999999999999G", "-1Gi"] {
            assert!(parse_mib(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size(&json!(4096), "Mi"), "4Gi");
        assert_eq!(size(&json!(1536), "Mi"), "1536Mi");
        assert_eq!(size(&json!(0), "Gi"), "");
    }

    #[test]
    fn devices_and_switches_have_short_forms() {
        assert_eq!(parse_device("nvidia.com/A10=2"), Ok(json!({"name": "nvidia.com/A10", "quantity": 2})));
        assert_eq!(parse_device("x"), Ok(json!({"name": "x", "quantity": 1})));
        assert!(parse_device("x=y").is_err());
        assert_eq!(parse_extra_spec("dedicated_cpu"), Ok(json!({"key": "dedicated_cpu", "value": true})));
        assert!(parse_extra_spec("a=1").is_err());
    }
}
