//! Manifests: an object as YAML that can be applied again.
//!
//! The values are those of our own JSON, so the few rules of YAML that they need are all here: texts are always
//! quoted as JSON quotes them, which YAML 1.2 reads the same way.

use std::fmt::Write as _;

use serde_json::Value;

/// `value` as block-style YAML.
pub(super) fn render(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

fn block(text: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let _ = write!(text, "{:indent$}{key}:", "");
                entry(text, value, indent + 2);
            }
        }
        Value::Array(items) => {
            for item in items {
                let _ = write!(text, "{:indent$}-", "");
                entry(text, item, indent + 2);
            }
        }
        scalar => {
            let _ = writeln!(text, "{:indent$}{}", "", scalar_text(scalar));
        }
    }
}

fn entry(text: &mut String, value: &Value, indent: usize) {
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        block(text, value, indent);
    } else {
        let _ = writeln!(text, " {}", scalar_text(value));
    }
}

/// A plain value, or an empty list or object.
fn scalar_text(value: &Value) -> String {
    match value.as_str() {
        // Words that mean nothing but themselves in every YAML reader go without quotes.
        Some(word) if is_plain(word) => word.to_owned(),
        _ => value.to_string(),
    }
}

fn is_plain(word: &str) -> bool {
    const MEANINGFUL: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    word.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !MEANINGFUL.iter().any(|meaningful| meaningful.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::render;

    #[test]
    fn objects_and_lists_are_blocks_and_texts_keep_their_meaning() {
        let value = json!({"router": {
            "name": "r1", "internal": ["a", "b"], "external": {"network": "wan", "ip": "203.0.113.5"},
            "routes": [{"to": "x"}], "empty": [], "enable_snat": true, "description": "no: \"really\"\n", "no": "no"
        }});
        let wanted = "router:\n  name: r1\n  internal:\n    - a\n    - b\n  external:\n    network: wan\n    \
                      ip: \"203.0.113.5\"\n  routes:\n    -\n      to: x\n  empty: []\n  enable_snat: true\n  \
                      description: \"no: \\\"really\\\"\\n\"\n  no: \"no\"\n";
        let text = render(&value);
        let mut lines: Vec<&str> = text.lines().collect();
        let mut wanted: Vec<&str> = wanted.lines().collect();
        lines.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(lines, wanted, "{text}");
    }
}
