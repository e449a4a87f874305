//! Flavors over HTTP.

use serde_json::json;

use crate::support::Daemon;

#[test]
fn a_flavor_lives_its_whole_life() {
    let daemon = Daemon::start();
    let body = json!({"flavor": {"name": "small", "vcpus": 1, "ram": 2048, "root_disk": 20,
        "gpus": [{"name": "nvidia.com/A10"}]}});
    let created = daemon.create("flavors", &body);
    assert_eq!(
        (&created["vcpus"], &created["ram"], &created["ephemeral_disk"]),
        (&json!(1), &json!(2048), &json!(0))
    );
    assert_eq!(created["gpus"], json!([{"name": "nvidia.com/A10", "quantity": 1}]));
    assert_eq!(created["status"]["phase"], "Active", "nothing has to be done for it");
    assert_eq!(daemon.post("flavors", &body).status, 200, "asking again is harmless");
    let changed = daemon.patch("flavors/small", &json!({"flavor": {"ram": 4096}}));
    assert_eq!((changed.status, &changed.body["flavor"]["ram"]), (200, &json!(4096)), "{}", changed.text);
    assert_eq!(changed.body["flavor"]["status"]["observed_generation"], 2);
    let manifest = daemon.get("flavors/small/manifest");
    assert!(manifest.text.contains("ram: 4096"), "{}", manifest.text);
    daemon.post("flavors", &json!({"flavor": {"name": "none", "vcpus": 0, "ram": 1}})).refused(
        400,
        "invalid",
        &[("/flavor/vcpus", "out_of_range"), ("/flavor/ram", "out_of_range")],
    );
    assert_eq!(daemon.delete("flavors/small").status, 200);
    assert_eq!(daemon.get("flavors").body["total"], 0);
}
