//! Reads the fields of a JSON object and notes everything that is wrong with it, instead of stopping at the first.
//!
//! Serde's derive would stop at the first unknown key or wrong type; an operator who writes a site by hand wants the
//! whole list. A [`Reader`] remembers which keys were asked for, so that [`Reader::finish`] can refuse the others
//! by name and say which one was probably meant.

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::suggest;

/// Mistakes of one request that are noted: enough to mend it by, and no more than an answer should hold.
pub const ERRORS_MAX: usize = 100;

/// Why a value was refused; the reader adds where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable word for programs.
    pub code: &'static str,
    /// One sentence for people.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal with a hint.
    pub fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: Some(hint.into()) }
    }
}

/// The fields of one JSON object of a request.
pub struct Reader<'a> {
    pointer: String,
    fields: &'a Map<String, Value>,
    known: Vec<&'static str>,
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Reader<'a> {
    /// Starts on `value`, which should be an object and stands at `pointer` of the body.
    pub fn new(value: &'a Value, pointer: String, errors: &'a mut Vec<FieldError>) -> Option<Self> {
        if let Value::Object(fields) = value {
            return Some(Self { pointer, fields, known: Vec::new(), errors });
        }
        let message = format!("an object is expected here, not {}", crate::value::type_name(value));
        note(errors, FieldError { pointer, code: "wrong_type".to_owned(), message, hint: None });
        None
    }

    /// The value of a field that may be left out or null.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, Refusal>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.fields.get(key).filter(|value| !value.is_null())?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(key, refusal);
                None
            }
        }
    }

    /// The value of a field that must be there; `example` shows what to write.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&Value) -> Result<T, Refusal>,
    ) -> Option<T> {
        if self.has(key) {
            return self.optional(key, parse);
        }
        self.known.push(key);
        self.refuse(
            key,
            Refusal::new("missing", format!("`{key}` is required"), format!("such as {example}")),
        );
        None
    }

    /// A list of at most `limit` plain values; None where the field is left out.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        limit: usize,
        parse: impl Fn(&Value) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let values = self.array(key, limit)?;
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            match parse(value) {
                Ok(item) => items.push(item),
                Err(refusal) => self.refuse(&format!("{key}/{index}"), refusal),
            }
        }
        Some(items)
    }

    /// A list of at most `limit` objects, each read by `read`; None where the field is left out.
    pub fn objects<T>(
        &mut self,
        key: &'static str,
        limit: usize,
        mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let values = self.array(key, limit)?;
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let pointer = format!("{}/{key}/{index}", self.pointer);
            if let Some(mut reader) = Reader::new(value, pointer, self.errors) {
                items.extend(read(&mut reader));
                reader.finish();
            }
        }
        Some(items)
    }

    /// A list of at most `limit` items, each a plain value read by `parse` or an object read by `read`.
    pub fn texts_or_objects<T>(
        &mut self,
        key: &'static str,
        limit: usize,
        parse: impl Fn(&Value) -> Result<T, Refusal>,
        mut read: impl FnMut(&mut Reader<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let values = self.array(key, limit)?;
        let mut items = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let pointer = format!("{}/{key}/{index}", self.pointer);
            if !value.is_object() {
                match parse(value) {
                    Ok(item) => items.push(item),
                    Err(refusal) => self.refuse(&format!("{key}/{index}"), refusal),
                }
            } else if let Some(mut reader) = Reader::new(value, pointer, self.errors) {
                items.extend(read(&mut reader));
                reader.finish();
            }
        }
        Some(items)
    }

    /// An object within this one, read by `read`; None where the field is left out or wrong.
    pub fn object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.fields.get(key).filter(|value| !value.is_null())?;
        let mut reader = Reader::new(value, format!("{}/{key}", self.pointer), self.errors)?;
        let item = read(&mut reader);
        reader.finish();
        item
    }

    /// The field as it stands in the body, null counting as left out.
    pub fn raw(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.fields.get(key).filter(|value| !value.is_null())
    }

    /// Whether the field is there and not null.
    pub fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| !value.is_null())
    }

    /// Accepts fields without looking at them: those that only the server writes.
    pub fn ignore(&mut self, keys: &[&'static str]) {
        self.known.extend_from_slice(keys);
    }

    /// Notes that the field `key` (or a path below it, such as `ip_pool/start`) is wrong.
    pub fn refuse(&mut self, key: &str, refusal: Refusal) {
        let Refusal { code, message, hint } = refusal;
        let pointer = if key.is_empty() { self.pointer.clone() } else { format!("{}/{key}", self.pointer) };
        note(self.errors, FieldError { pointer, code: code.to_owned(), message, hint });
    }

    /// The keys that were asked for so far.
    pub fn known(&self) -> Vec<&'static str> {
        self.known.clone()
    }

    /// Whether anything was refused so far, in this object or around it.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// Refuses every key that nobody asked for.
    pub fn finish(mut self) {
        let unknown = self.fields.keys().filter(|key| !self.known.contains(&key.as_str()));
        let unknown: Vec<&String> = unknown.take(ERRORS_MAX).collect();
        for key in unknown {
            let hint = match suggest::nearest(key, self.known.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known fields: {}", self.known.join(", ")),
            };
            let escaped = key.replace('~', "~0").replace('/', "~1");
            self.refuse(
                &escaped,
                Refusal::new("unknown_field", format!("`{key}` is no field of this object"), hint),
            );
        }
    }

    fn array(&mut self, key: &'static str, limit: usize) -> Option<&'a Vec<Value>> {
        self.known.push(key);
        match self.fields.get(key)? {
            Value::Null => None,
            Value::Array(values) if values.len() <= limit => Some(values),
            Value::Array(values) => {
                let message =
                    format!("{} entries are more than the {limit} that `{key}` may have", values.len());
                self.refuse(key, Refusal { code: "too_many", message, hint: None });
                None
            }
            other => {
                let message = format!("`{key}` is a list, not {}", crate::value::type_name(other));
                self.refuse(key, Refusal::new("wrong_type", message, "write it in brackets: [ … ]"));
                None
            }
        }
    }
}

fn note(errors: &mut Vec<FieldError>, error: FieldError) {
    if errors.len() < ERRORS_MAX {
        errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ERRORS_MAX, Reader, Refusal};
    use crate::value;

    #[test]
    fn every_problem_is_noted_with_its_place() {
        let body = json!({"name": 5, "cidrr": "x", "rules": [{"a": 1}, 7], "list": {}});
        let mut errors = Vec::new();
        let mut reader = Reader::new(&body, "/network".to_owned(), &mut errors).unwrap();
        reader.required("name", "`web`", value::text);
        reader.required("cidr", "`10.0.0.0/24`", value::text);
        reader.objects("rules", 10, |rule| rule.optional("b", value::text));
        reader.list("list", 10, value::text);
        reader.finish();
        let found: Vec<(&str, &str)> =
            errors.iter().map(|error| (error.pointer.as_str(), error.code.as_str())).collect();
        assert_eq!(
            found,
            [
                ("/network/name", "wrong_type"),
                ("/network/cidr", "missing"),
                ("/network/rules/0/a", "unknown_field"),
                ("/network/rules/1", "wrong_type"),
                ("/network/list", "wrong_type"),
                ("/network/cidrr", "unknown_field"),
            ]
        );
        assert_eq!(errors[5].hint.as_deref(), Some("did you mean `cidr`?"));
    }

    #[test]
    fn null_counts_as_left_out_and_pointers_are_escaped() {
        let body = json!({"name": null, "a/b~c": 1});
        let mut errors = Vec::new();
        let mut reader = Reader::new(&body, String::new(), &mut errors).unwrap();
        assert_eq!(reader.optional("name", value::text), None);
        reader.refuse("", Refusal { code: "x", message: "whole".to_owned(), hint: None });
        reader.finish();
        assert_eq!(errors[0].pointer, "");
        assert_eq!(errors[1].pointer, "/a~1b~0c");
    }

    #[test]
    fn a_body_full_of_mistakes_is_not_answered_with_all_of_them() {
        let fields = (0..10_000).map(|number| (format!("field-{number}"), json!(number)));
        let body = json!({"rules": [fields.collect::<serde_json::Map<_, _>>(), 1, 2]});
        let mut errors = Vec::new();
        let mut reader = Reader::new(&body, String::new(), &mut errors).unwrap();
        reader.objects("rules", 10, |rule| rule.optional("a", value::text));
        reader.finish();
        assert_eq!(errors.len(), ERRORS_MAX);
    }

    #[test]
    fn lists_have_limits() {
        let body = json!({"list": [1, 2, 3]});
        let mut errors = Vec::new();
        let mut reader = Reader::new(&body, String::new(), &mut errors).unwrap();
        assert!(reader.list("list", 2, |_| Ok(())).is_none());
        assert_eq!(errors[0].code, "too_many");
    }
}
