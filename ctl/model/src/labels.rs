//! Labels: words that users put on objects to find them again, and the selectors that find them.
//!
//! Spelled as in Kubernetes: a key is `name` or `domain/name`, a selector is a list of conditions that must all hold,
//! such as `tier=web,stage!=test,site in (a,b),!retired`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::reader::{Reader, Refusal};
use crate::value::type_name;

/// Labels of one object.
pub const LABELS_MAX: usize = 64;
/// Letters of a key's name, and of a value.
pub const LETTERS_MAX: usize = 63;
/// Letters of a key's domain.
pub const DOMAIN_LETTERS_MAX: usize = 253;
/// Letters of a selector.
pub const SELECTOR_LETTERS_MAX: usize = 4096;
/// Conditions of a selector, and values of one condition.
pub const CONDITIONS_MAX: usize = 64;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Reads the field `labels`: a map of texts, empty where it is left out.
pub fn read(reader: &mut Reader<'_>) -> Labels {
    let Some(value) = reader.raw("labels") else { return Labels::new() };
    let Value::Object(fields) = value else {
        let message = format!("`labels` is an object, not {}", type_name(value));
        reader.refuse("labels", Refusal::new("wrong_type", message, "such as {\"tier\": \"web\"}"));
        return Labels::new();
    };
    if fields.len() > LABELS_MAX {
        let message = format!("{} labels are too many", fields.len());
        reader.refuse("labels", Refusal::new("too_many", message, format!("at most {LABELS_MAX}")));
        return Labels::new();
    }
    let mut labels = Labels::new();
    for (key, value) in fields {
        match read_one(key, value) {
            Ok(value) => {
                labels.insert(key.clone(), value);
            }
            Err(refusal) => {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                reader.refuse(&format!("labels/{escaped}"), refusal);
            }
        }
    }
    labels
}

fn read_one(key: &str, value: &Value) -> Result<String, Refusal> {
    if !is_key(key) {
        let hint = "`name` or `domain/name`: letters, digits, `-`, `_` and `.`, at most 63 in the name";
        return Err(Refusal::new("invalid_label", format!("`{key}` is no key of a label"), hint));
    }
    let Value::String(text) = value else {
        let message = format!("the value of a label is a text, not {}", type_name(value));
        return Err(Refusal::new("wrong_type", message, format!("write \"{value}\" in quotes")));
    };
    if !is_value(text) {
        let hint = "at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends";
        return Err(Refusal::new("invalid_label", format!("`{text}` is no value of a label"), hint));
    }
    Ok(text.clone())
}

/// Whether a text is a key: `name` or `domain/name`.
fn is_key(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    let domain_is_right = domain.is_none_or(|domain| {
        domain.len() <= DOMAIN_LETTERS_MAX
            && !domain.is_empty()
            && domain.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
    });
    domain_is_right && !name.is_empty() && is_value(name)
}

/// Whether a text is a value; an empty one is.
fn is_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LETTERS_MAX
        && text.bytes().all(inner)
        && ends(text.bytes().next())
        && ends(text.bytes().next_back())
}

/// Conditions on the labels of an object, which must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// An object without the label fits too.
    NotIn(Vec<String>),
}

impl Selector {
    /// Reads a selector such as `tier=web,stage!=test,site in (a,b),!retired`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > SELECTOR_LETTERS_MAX {
            let message = format!("a selector of {} letters is too long", text.len());
            return Err(Refusal::new("too_long", message, format!("at most {SELECTOR_LETTERS_MAX}")));
        }
        let conditions = split(text, true).into_iter().map(Condition::parse);
        let conditions: Vec<Condition> = conditions.collect::<Result<_, _>>()?;
        let values = |condition: &Condition| match &condition.test {
            Test::In(values) | Test::NotIn(values) => values.len(),
            Test::Exists | Test::Absent => 0,
        };
        if conditions.len() > CONDITIONS_MAX || conditions.iter().any(|one| values(one) > CONDITIONS_MAX) {
            let hint = format!("at most {CONDITIONS_MAX} conditions, and values of one");
            return Err(Refusal::new("too_many", "the selector has too many parts", hint));
        }
        Ok(Self { conditions })
    }

    /// Whether all conditions hold.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.conditions.iter().all(|Condition { key, test }| {
            let value = labels.get(key);
            match test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        })
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || {
            let hint =
                "such as `a=b`, `a!=b`, `a in (x,y)`, `a notin (x,y)`, `a` or `!a`, with commas between";
            Refusal::new("invalid_selector", format!("`{text}` is no condition on a label"), hint)
        };
        let condition = text.trim();
        let (key, test) = if let Some((head, list)) =
            condition.strip_suffix(')').and_then(|rest| rest.split_once('('))
        {
            let values: Vec<String> =
                split(list, false).into_iter().map(|value| value.trim().to_owned()).collect();
            let (key, word) = head.trim().rsplit_once(char::is_whitespace).ok_or_else(wrong)?;
            match word {
                "in" => (key, Test::In(values)),
                "notin" => (key, Test::NotIn(values)),
                _ => return Err(wrong()),
            }
        } else if let Some((key, value)) = condition.split_once("!=") {
            (key, Test::NotIn(vec![value.trim().to_owned()]))
        } else if let Some((key, value)) = condition.split_once("==").or_else(|| condition.split_once('=')) {
            (key, Test::In(vec![value.trim().to_owned()]))
        } else if let Some(key) = condition.strip_prefix('!') {
            (key, Test::Absent)
        } else {
            (condition, Test::Exists)
        };
        let values_are_right = match &test {
            Test::In(values) | Test::NotIn(values) => values.iter().all(|value| is_value(value)),
            Test::Exists | Test::Absent => true,
        };
        let key = key.trim().to_owned();
        if is_key(&key) && values_are_right { Ok(Self { key, test }) } else { Err(wrong()) }
    }
}

/// The parts between commas; those within brackets do not count where `brackets` says so.
fn split(text: &str, brackets: bool) -> Vec<&str> {
    let mut inside = false;
    text.split(move |letter| {
        inside = brackets && (inside || letter == '(') && letter != ')';
        letter == ',' && !inside
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Labels, Selector};
    use crate::meta::tests::{accepted, refusals};
    use crate::network::NetworkSpec;

    #[test]
    fn labels_are_read_and_what_is_none_is_named() {
        let draft = accepted::<NetworkSpec>(&json!({"network": {"name": "a", "cidr": "10.0.0.0/24",
            "labels": {"tier": "web", "edgestack.io/site": "a.1", "empty": ""}}}));
        assert_eq!(draft.labels.len(), 3);
        assert_eq!(draft.labels["edgestack.io/site"], "a.1");
        let found = refusals::<NetworkSpec>(&json!({"network": {"name": "a", "cidr": "10.0.0.0/24",
            "labels": {"": "x", "a": 5, "b": "-x", "a/b/c": "x", "c": "x".repeat(64)}}}));
        let wanted = [
            ("/network/labels/", "invalid_label"),
            ("/network/labels/a", "wrong_type"),
            ("/network/labels/b", "invalid_label"),
            ("/network/labels/a~1b~1c", "invalid_label"),
            ("/network/labels/c", "invalid_label"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
        let many: Labels = (0..65).map(|number| (format!("k{number}"), String::new())).collect();
        for labels in [json!([]), json!(many)] {
            let body = json!({"network": {"name": "a", "cidr": "10.0.0.0/24", "labels": labels}});
            assert_eq!(refusals::<NetworkSpec>(&body)[0].0, "/network/labels");
        }
    }

    #[test]
    fn selectors_select() {
        let labels =
            Labels::from([("tier".to_owned(), "web".to_owned()), ("site".to_owned(), "a".to_owned())]);
        for (selector, wanted) in [
            ("tier=web", true),
            ("tier==web,site=a", true),
            ("tier=web,site=b", false),
            ("tier!=web", false),
            ("stage!=test", true),
            ("site in (a, b)", true),
            ("site in (b,c),tier", false),
            ("site notin (b)", true),
            ("stage notin (x)", true),
            ("tier , !stage", true),
            ("stage", false),
            ("!tier", false),
            ("stage in ()", false),
        ] {
            let parsed =
                Selector::parse(selector).unwrap_or_else(|refusal| panic!("{selector}: {refusal:?}"));
            assert_eq!(parsed.matches(&labels), wanted, "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let long = "a,".repeat(3000);
        let many = vec!["a"; 65].join(",");
        for selector in
            ["", "a=b,", "=x", "a=b=c", "a of (x)", "a in x", "in (x)", "a in (x", "a=b c", &long, &many]
        {
            assert!(Selector::parse(selector).is_err(), "{selector}");
        }
    }
}
