//! Keypairs: public SSH keys that machines let their users in by. A private key is never stored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey};

use crate::meta::{Kind, Object, Spec};
use crate::reader::{Reader, Refusal};
use crate::value;

/// Smallest RSA key in bits (NIST SP 800-131A).
pub const RSA_BITS_MIN: usize = 2048;
/// Largest RSA key in bits: what OpenSSH takes.
pub const RSA_BITS_MAX: usize = 16_384;
/// Longest line of a key in bytes, which an RSA key of the largest size fits.
const LINE_BYTES_MAX: usize = 8192;
/// What to write instead of what was refused.
const HINT: &str = "the one line of a .pub file, like `ssh-ed25519 AAAA… me@laptop`";

/// A keypair as the API shows it.
pub type Keypair = Object<KeypairSpec>;

/// The fields of a keypair. What follows from the public key is written by the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeypairSpec {
    /// The public key as a line of OpenSSH.
    pub public_key: String,
    /// The key's algorithm as OpenSSH spells it.
    #[serde(rename = "type")]
    pub key_type: String,
    /// SHA-256 fingerprint as OpenSSH spells it.
    pub fingerprint: String,
    /// The comment of the public key.
    #[serde(default)]
    pub comment: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// The server is to make the key: of a request, never stored.
    #[serde(skip)]
    pub generate: Option<KeyType>,
}

/// Keys that the server makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// Ed25519.
    Ed25519,
    /// ECDSA over NIST's P-256, for guests that know no other.
    EcdsaP256,
}

impl KeyType {
    /// The words on the wire.
    pub const WORDS: [(&'static str, Self); 2] =
        [("ed25519", Self::Ed25519), ("ecdsa-p256", Self::EcdsaP256)];
}

impl KeypairSpec {
    /// The keypair of a public key.
    pub fn of(key: &PublicKey, description: String) -> Result<Self, Refusal> {
        let refused = |_| Refusal::new("invalid_key", "the public key cannot be written", HINT);
        Ok(Self {
            public_key: key.to_openssh().map_err(refused)?,
            key_type: key.algorithm().as_str().to_owned(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            comment: key.comment().to_owned(),
            description,
            generate: None,
        })
    }
}

impl Spec for KeypairSpec {
    const KIND: Kind = Kind::Keypair;

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.ignore(&["type", "fingerprint", "comment"]);
        let description = reader.optional("description", value::description).unwrap_or_default();
        let generate = reader.optional("generate", |kind| value::word(kind, &KeyType::WORDS));
        let spec = if reader.has("generate") {
            if reader.has("public_key") {
                let message = "a keypair is either imported or generated";
                let refusal = Refusal::new("not_allowed", message, "leave public_key or generate out");
                reader.refuse("generate", refusal);
            }
            reader.ignore(&["public_key"]);
            generated(generate?, description)
        } else {
            let key = reader.required("public_key", HINT, public_key)?;
            reader.optional("public_key", |_| Self::of(&key, description))?
        };
        reader.is_clean().then_some(spec)
    }
}

/// A keypair whose key is still to be made.
fn generated(kind: KeyType, description: String) -> KeypairSpec {
    let (public_key, key_type) = (String::new(), String::new());
    let (fingerprint, comment) = (String::new(), String::new());
    KeypairSpec { public_key, key_type, fingerprint, comment, description, generate: Some(kind) }
}

/// A public key of OpenSSH that is safe to use. What was given is never told in a message: it may be a secret.
pub fn public_key(value: &Value) -> Result<PublicKey, Refusal> {
    let text = value::text(value)?;
    let line = text.trim();
    if let Some(refusal) = refuse_other_forms(line) {
        return Err(refusal);
    }
    let key = PublicKey::from_openssh(line)
        .map_err(|error| Refusal::new("invalid_key", format!("this is no public SSH key: {error}"), HINT))?;
    if key.comment().chars().any(char::is_control) {
        return Err(Refusal::new(
            "invalid_key",
            "the key's comment holds control characters",
            "leave them out",
        ));
    }
    match key.key_data() {
        KeyData::Ed25519(_) | KeyData::Ecdsa(_) => Ok(key),
        KeyData::Rsa(rsa) => {
            let modulus = rsa.n.as_positive_bytes().unwrap_or_default();
            let exponent = rsa.e.as_positive_bytes().unwrap_or_default();
            let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                let message = format!(
                    "an RSA key of {bits} bits is {}",
                    if bits < RSA_BITS_MIN { "weak" } else { "too large" }
                );
                let hint = format!("from {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, or ed25519");
                return Err(Refusal::new("weak_key", message, hint));
            }
            let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
            if !odd(modulus) || !odd(exponent) || exponent == [1] {
                let message = "the numbers of the RSA key are none of a key";
                return Err(Refusal::new("invalid_key", message, HINT));
            }
            Ok(key)
        }
        _ => {
            let message = format!("keys of the type {} are not taken", key.algorithm().as_str());
            Err(Refusal::new("weak_key", message, "ssh-ed25519, ecdsa-sha2-nistp… or ssh-rsa"))
        }
    }
}

/// Recognises what people paste instead of a public key.
fn refuse_other_forms(line: &str) -> Option<Refusal> {
    let has = |part: &str| line.to_ascii_uppercase().contains(part);
    if has("PRIVATE KEY") || line.starts_with("PuTTY-User-Key-File") {
        let message = "this is a PRIVATE key, which nobody but its owner may have; it was not stored";
        let hint = "paste the .pub file instead, and replace this key: it has left its machine";
        return Some(Refusal::new("private_key", message, hint));
    }
    if has("BEGIN SSH2 PUBLIC KEY") || has("BEGIN PUBLIC KEY") || has("BEGIN RSA PUBLIC KEY") {
        let message = "this is a public key of another form";
        return Some(Refusal::new("invalid_key", message, "convert it: ssh-keygen -i -f FILE"));
    }
    if line.lines().count() > 1 {
        return Some(Refusal::new("invalid_key", "this is more than one line", HINT));
    }
    if line.len() > LINE_BYTES_MAX {
        let message = format!("a line of {} bytes is no public key", line.len());
        return Some(Refusal::new("too_long", message, format!("at most {LINE_BYTES_MAX} bytes")));
    }
    if line.split(' ').next().is_some_and(|first| first.contains("-cert-v01@")) {
        return Some(Refusal::new("invalid_key", "this is a certificate, not a key", HINT));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{KeyType, KeypairSpec};
    use crate::meta::tests::{accepted, refusals};

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDI5OTV6U3H9xHE53NHqz5NG8NLxAwTzQHlVcFjvSVZT me@laptop";

    fn body(key: &str) -> Value {
        json!({"keypair": {"name": "me", "public_key": key}})
    }

    fn code(key: &str) -> String {
        let found = refusals::<KeypairSpec>(&body(key));
        assert_eq!((found.len(), found[0].0.as_str()), (1, "/keypair/public_key"), "{found:?}");
        found[0].1.clone()
    }

    /// An RSA key of OpenSSH with these numbers.
    fn rsa(exponent: &[u8], modulus: &[u8]) -> String {
        let mut blob = Vec::new();
        for part in [b"ssh-rsa".as_slice(), exponent, modulus] {
            blob.extend((part.len() as u32).to_be_bytes());
            blob.extend(part);
        }
        format!("ssh-rsa {}", base64(&blob))
    }

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits =
                chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for index in 0..4 {
                let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize] as char;
                text.push(if index <= chunk.len() { letter } else { '=' });
            }
        }
        text
    }

    #[test]
    fn what_follows_from_a_public_key_is_told() {
        let spec = accepted::<KeypairSpec>(&body(&format!("  {ED25519}\n"))).spec;
        assert_eq!((spec.public_key.as_str(), spec.comment.as_str()), (ED25519, "me@laptop"));
        assert_eq!(spec.key_type, "ssh-ed25519");
        // As `ssh-keygen -l` says it.
        assert_eq!(spec.fingerprint, "SHA256:RI1htthW93/dwdksqcAvV1gs6HwhQ7UE81cHG6EsNVM");
    }

    #[test]
    fn a_private_key_is_recognised_and_never_repeated() {
        for begin in [
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----",
            "PuTTY-User-Key-File-3: x",
        ] {
            let text = format!("{begin}\nc2VjcmV0\n");
            assert_eq!(code(&text), "private_key", "{begin}");
            let errors = crate::read_draft::<KeypairSpec>(&body(&text)).unwrap_err();
            assert!(!format!("{errors:?}").contains("c2VjcmV0"));
        }
    }

    #[test]
    fn keys_of_other_forms_and_weak_ones_are_refused() {
        let modulus = |bytes: usize| [vec![0, 0x80], vec![1; bytes - 1]].concat();
        assert!(crate::read_draft::<KeypairSpec>(&body(&rsa(&[1, 0, 1], &modulus(256)))).is_ok());
        let cases = [
            (rsa(&[1, 0, 1], &modulus(255)), "weak_key"),
            (rsa(&[1], &modulus(256)), "invalid_key"),
            (rsa(&[2], &modulus(256)), "invalid_key"),
            (format!("{ED25519}\n{ED25519}"), "invalid_key"),
            (format!("command=\"x\" {ED25519}"), "invalid_key"),
            (ED25519.replace("ssh-ed25519", "ssh-rsa"), "invalid_key"),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==".to_owned(), "invalid_key"),
            ("-----BEGIN PUBLIC KEY-----\nMCow\n".to_owned(), "invalid_key"),
            ("ssh-ed25519-cert-v01@openssh.com AAAA x".to_owned(), "invalid_key"),
            (String::new(), "invalid_key"),
        ];
        for (key, wanted) in cases {
            assert_eq!(code(&key), wanted, "{key}");
        }
    }

    #[test]
    fn a_key_is_imported_or_generated() {
        let spec = accepted::<KeypairSpec>(&json!({"keypair": {"name": "me", "generate": "ED25519"}})).spec;
        assert_eq!(spec.generate, Some(KeyType::Ed25519));
        let both = json!({"keypair": {"name": "me", "generate": "ed25519", "public_key": ED25519}});
        assert_eq!(refusals::<KeypairSpec>(&both)[0].1, "not_allowed");
        assert_eq!(refusals::<KeypairSpec>(&json!({"keypair": {"name": "me"}}))[0].1, "missing");
        let other = json!({"keypair": {"name": "me", "generate": "dsa"}});
        assert_eq!(refusals::<KeypairSpec>(&other)[0].1, "invalid_value");
    }
}
