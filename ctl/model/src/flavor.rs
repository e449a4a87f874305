//! Flavors: sizes of virtual machines.

use serde::{Deserialize, Serialize};

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// Virtual CPUs of one flavor.
pub const VCPUS_MAX: u64 = 512;
/// Smallest memory of a flavor in MiB.
pub const RAM_MIB_MIN: u64 = 64;
/// Largest memory of a flavor in MiB: 16 TiB.
pub const RAM_MIB_MAX: u64 = 16 * 1024 * 1024;
/// Largest disk of a flavor in GiB.
pub const DISK_GIB_MAX: u64 = 65_536;
/// Entries of each list of a flavor.
pub const ENTRIES_MAX: usize = 32;
/// Devices of one name.
pub const QUANTITY_MAX: u64 = 64;

/// A flavor as the API shows it.
pub type Flavor = Object<FlavorSpec>;

/// The fields of a flavor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlavorSpec {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub ram: u64,
    /// Size of the root disk in GiB; 0 is the size of the image.
    #[serde(default)]
    pub root_disk: u32,
    /// Size of a further disk in GiB whose content ends with the machine; 0 is none.
    #[serde(default)]
    pub ephemeral_disk: u32,
    /// Switches of the compute driver, such as `dedicated_cpu`.
    #[serde(default)]
    pub extra_specs: Vec<ExtraSpec>,
    /// Devices of the host that each machine gets.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Graphics processors that each machine gets.
    #[serde(default)]
    pub gpus: Vec<Device>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// A switch of the compute driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraSpec {
    /// Its name.
    pub key: String,
    /// On or off.
    pub value: bool,
}

/// Devices of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Name of the resource, such as `nvidia.com/GA102GL_A10`.
    pub name: String,
    /// How many of them.
    pub quantity: u32,
}

impl Spec for FlavorSpec {
    const KIND: Kind = Kind::Flavor;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let vcpus = reader.required("vcpus", "2", |vcpus| value::integer(vcpus, 1, VCPUS_MAX));
        let ram = reader.required("ram", "2048, in MiB", |ram| value::integer(ram, RAM_MIB_MIN, RAM_MIB_MAX));
        let disk = |size: &serde_json::Value| value::integer(size, 0, DISK_GIB_MAX);
        let root_disk = reader.optional("root_disk", disk).unwrap_or(0);
        let ephemeral_disk = reader.optional("ephemeral_disk", disk).unwrap_or(0);
        let extra_specs = reader.objects("extra_specs", ENTRIES_MAX, read_extra_spec).unwrap_or_default();
        let devices = reader.objects("devices", ENTRIES_MAX, read_device).unwrap_or_default();
        let gpus = reader.objects("gpus", ENTRIES_MAX, read_device).unwrap_or_default();
        let description = reader.optional("description", value::description).unwrap_or_default();
        refuse_repeated(reader, "extra_specs", "key", extra_specs.iter().map(|spec| spec.key.as_str()));
        refuse_repeated(reader, "devices", "name", devices.iter().map(|device| device.name.as_str()));
        refuse_repeated(reader, "gpus", "name", gpus.iter().map(|gpu| gpu.name.as_str()));
        let spec = Self {
            vcpus: vcpus? as u32,
            ram: ram?,
            root_disk: root_disk as u32,
            ephemeral_disk: ephemeral_disk as u32,
            extra_specs,
            devices,
            gpus,
            description,
        };
        reader.is_clean().then_some(spec)
    }
}

fn read_extra_spec(reader: &mut Reader<'_>) -> Option<ExtraSpec> {
    let key = reader.required("key", "`dedicated_cpu`", value::resource_name);
    let value = reader.required("value", "true", value::boolean);
    Some(ExtraSpec { key: key?, value: value? })
}

fn read_device(reader: &mut Reader<'_>) -> Option<Device> {
    let name = reader.required("name", "`nvidia.com/GA102GL_A10`", value::resource_name);
    let quantity = reader.optional("quantity", |quantity| value::integer(quantity, 1, QUANTITY_MAX));
    Some(Device { name: name?, quantity: quantity.unwrap_or(1) as u32 })
}

/// Refuses entries whose names stand twice in a list of objects.
fn refuse_repeated<'a>(reader: &mut Reader<'_>, list: &str, key: &str, names: impl Iterator<Item = &'a str>) {
    let mut earlier = Vec::new();
    for (index, name) in names.enumerate() {
        if earlier.contains(&name) {
            let message = format!("`{name}` stands twice in the list");
            let refusal = Refusal::new("duplicate", message, "leave one out");
            reader.refuse(&format!("{list}/{index}/{key}"), refusal);
        }
        earlier.push(name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Device, FlavorSpec};
    use crate::meta::tests::{accepted, refusals};

    #[test]
    fn the_body_of_edgestacks_console_is_read() {
        let spec = accepted::<FlavorSpec>(&json!({"flavor": {
            "name": "m1", "vcpus": "2", "ram": 2048, "root_disk": 20, "ephemeral_disk": 0,
            "extra_specs": [{"key": "dedicated_cpu", "value": true}], "devices": [],
            "gpus": [{"name": "nvidia.com/A10", "quantity": 1}], "description": "small"
        }}))
        .spec;
        assert_eq!((spec.vcpus, spec.ram, spec.root_disk), (2, 2048, 20));
        assert_eq!(spec.gpus, [Device { name: "nvidia.com/A10".to_owned(), quantity: 1 }]);
        let spec = accepted::<FlavorSpec>(&json!({"flavor": {"name": "m2", "vcpus": 1, "ram": 64}})).spec;
        assert_eq!((spec.root_disk, spec.ephemeral_disk), (0, 0));
    }

    #[test]
    fn every_wrong_field_is_named() {
        let found = refusals::<FlavorSpec>(&json!({"flavor": {
            "name": "m1", "vcpus": 0, "ram": 63, "root_disk": 65_537, "ephemeral_disk": -1,
            "extra_specs": [{"key": "a b", "value": "yes"}],
            "devices": [{"name": "x", "quantity": 0}, {"name": "y"}, {"name": "y"}], "memory": 5
        }}));
        let wanted = [
            ("/flavor/vcpus", "out_of_range"),
            ("/flavor/ram", "out_of_range"),
            ("/flavor/root_disk", "out_of_range"),
            ("/flavor/ephemeral_disk", "wrong_type"),
            ("/flavor/extra_specs/0/key", "invalid_name"),
            ("/flavor/extra_specs/0/value", "wrong_type"),
            ("/flavor/devices/0/quantity", "out_of_range"),
            ("/flavor/devices/2/name", "duplicate"),
            ("/flavor/memory", "unknown_field"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
        let found = refusals::<FlavorSpec>(&json!({"flavor": {"name": "m1"}}));
        assert_eq!(found.len(), 2, "vcpus and ram are required: {found:?}");
    }
}
