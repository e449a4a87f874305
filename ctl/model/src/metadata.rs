//! What a workload is told by the metadata service: user data, facts, and keys that may log in.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::reader::{Reader, Refusal};
use crate::value::{text, type_name};

/// Bytes of user data.
pub const USER_DATA_BYTES_MAX: usize = 65_535;
/// Facts of one workload.
pub const FACTS_MAX: usize = 64;
/// Letters of a fact's name, and of its value.
pub const FACT_LETTERS_MAX: usize = 255;
/// Bytes of a public key.
pub const SSH_KEY_BYTES_MAX: usize = 8192;

/// How the kinds of public keys are named.
const SSH_KEY_KINDS: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// User data: any text.
pub fn user_data(value: &Value) -> Result<String, Refusal> {
    let text = text(value)?;
    if text.len() > USER_DATA_BYTES_MAX {
        let message = format!("user data of {} bytes are too many", text.len());
        return Err(Refusal::new("too_long", message, format!("at most {USER_DATA_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A public key on one line, as OpenSSH writes it.
pub fn ssh_key(value: &Value) -> Result<String, Refusal> {
    let text = text(value)?;
    let key = text.trim();
    let refuse = |message: &str| {
        let hint = "the line of a .pub file, such as `ssh-ed25519 AAAA... me@host`";
        Err(Refusal::new("invalid_key", message.to_owned(), hint))
    };
    if key.contains("PRIVATE KEY") {
        return refuse("this is a private key, which nobody else may see; it was not kept");
    }
    if key.len() > SSH_KEY_BYTES_MAX || key.contains(char::is_control) {
        return refuse("a public key is one line");
    }
    let mut words = key.split(' ');
    let is_kind = words.next().is_some_and(|kind| SSH_KEY_KINDS.contains(&kind));
    let is_base64 = words.next().is_some_and(|word| {
        word.len() >= 16
            && word.starts_with("AAAA")
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    });
    if is_kind && is_base64 { Ok(key.to_owned()) } else { refuse("this is no public key") }
}

/// The facts of a body: an object of texts.
pub fn read(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(value) = reader.raw("metadata") else { return BTreeMap::new() };
    let Value::Object(fields) = value else {
        let message = format!("`metadata` is an object, not {}", type_name(value));
        reader.refuse("metadata", Refusal::new("wrong_type", message, "such as {\"role\": \"web\"}"));
        return BTreeMap::new();
    };
    if fields.len() > FACTS_MAX {
        let message = format!("{} facts are too many", fields.len());
        reader.refuse("metadata", Refusal::new("too_many", message, format!("at most {FACTS_MAX}")));
        return BTreeMap::new();
    }
    let mut facts = BTreeMap::new();
    for (key, value) in fields {
        let fits = |text: &str| text.chars().count() <= FACT_LETTERS_MAX;
        let refusal = match value {
            Value::String(text) if fits(text) && fits(key) && !key.is_empty() => {
                facts.insert(key.clone(), text.clone());
                continue;
            }
            Value::String(_) => {
                let hint =
                    format!("a name of 1 to {FACT_LETTERS_MAX} letters and a value of at most as many");
                Refusal::new("too_long", format!("`{key}` or its value is too long or empty"), hint)
            }
            other => {
                let message = format!("the value of a fact is a text, not {}", type_name(other));
                Refusal::new("wrong_type", message, format!("write \"{other}\" in quotes"))
            }
        };
        let escaped = key.replace('~', "~0").replace('/', "~1");
        reader.refuse(&format!("metadata/{escaped}"), refusal);
    }
    facts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::PortSpec;
    use crate::meta::tests::{accepted, refusals};

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl me@host";

    #[test]
    fn what_a_workload_is_told() {
        let spec = accepted::<PortSpec>(&json!({"port": {
            "name": "a", "network": "n", "user_data": "#cloud-config\n", "metadata": {"role": "web"},
            "ssh_keys": [format!("{KEY}\n")]
        }}))
        .spec;
        assert_eq!(spec.user_data.as_deref(), Some("#cloud-config\n"));
        assert_eq!(spec.metadata["role"], "web");
        assert_eq!(spec.ssh_keys, [KEY]);
    }

    #[test]
    fn what_it_cannot_be_told_is_named() {
        let found = refusals::<PortSpec>(&json!({"port": {
            "name": "a", "network": "n", "user_data": "x".repeat(65_536),
            "metadata": {"n": 1, "a/b": "x".repeat(256), "": "x"},
            "ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----\nx", "ssh-dss AAAAB3NzaC1kc3MAAACB", "two\nlines", "ssh-rsa !"]
        }}));
        let wanted = [
            ("/port/user_data", "too_long"),
            ("/port/metadata/n", "wrong_type"),
            ("/port/metadata/a~1b", "too_long"),
            ("/port/metadata/", "too_long"),
            ("/port/ssh_keys/0", "invalid_key"),
            ("/port/ssh_keys/1", "invalid_key"),
            ("/port/ssh_keys/2", "invalid_key"),
            ("/port/ssh_keys/3", "invalid_key"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
        let found = refusals::<PortSpec>(&json!({"port": {"name": "a", "network": "n", "metadata": []}}));
        assert_eq!(found, [("/port/metadata".to_owned(), "wrong_type".to_owned())]);
    }
}
