//! Lists: which objects, in which order, and which part of them.
//!
//! A list goes on by a token that names the last object of the part before by what it is sorted by, not by its
//! place: objects that come and go in between make no other appear twice or not at all.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use edgestack_model::meta::field_names;
use edgestack_model::{FieldError, Object, Selector, suggest};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::error::AppError;
use super::listed::{Listed, write};
use super::{App, Noun};
use crate::hexadecimal;

/// Most objects of one part.
pub const LIMIT_MAX: usize = 10_000;
/// Bytes of a token's digest of the query.
const DIGEST_BYTES: usize = 8;

/// Which objects of a kind, in which order, and which part of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListQuery {
    /// Fields (paths with dots) and the values of which one must be there.
    pub filters: Vec<(String, Vec<String>)>,
    /// Conditions on the labels.
    pub selector: Selector,
    /// The field (a path with dots) that decides the order; the time of creation where none is given.
    pub sort_by: Option<String>,
    /// The largest first.
    pub descending: bool,
    /// Most objects of this part; all where none is given.
    pub limit: Option<usize>,
    /// Which part.
    pub start: Start,
}

/// Where a part of a list starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first object.
    #[default]
    Beginning,
    /// After the parts before: 1 is the first part.
    Page(usize),
    /// After the part whose answer had this token.
    Continue(String),
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The objects, each as JSON.
    pub objects: Vec<Arc<str>>,
    /// How many there are in all parts.
    pub total: usize,
    /// The token of the next part; none after the last one.
    pub next: Option<String>,
    /// A revision of the store from which on a watch misses nothing.
    pub revision: u64,
}

/// Where an object stands in a list.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    value: Value,
    key: Key,
    id: String,
}

/// What a value is sorted by, in this order. Addresses count as numbers, and come before other texts.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Key {
    None,
    Bool(bool),
    Number(f64),
    Address(IpAddr),
    Text(String),
    Other(String),
}

impl App {
    /// Some objects of a kind.
    pub fn list<S: Noun>(&self, query: &ListQuery) -> Result<Page, AppError> {
        let (objects, revision) = self.seen::<S>()?;
        check_fields::<S>(query, objects.first().map(|object| &*object.text))?;
        let start = match &query.start {
            Start::Continue(token) => Some(read_token::<S>(token, query)?),
            Start::Beginning | Start::Page(_) => None,
        };
        let mut chosen: Vec<(Place, Arc<Listed>)> = Vec::with_capacity(objects.len());
        for object in objects {
            if let Some(value) = fits(query, &object) {
                chosen.push((Place::new(value, object.id.clone()), object));
            }
        }
        let order = |left: &Place, right: &Place| {
            let order = left.compare(right);
            if query.descending { order.reverse() } else { order }
        };
        if query.sort_by.is_some() || query.descending {
            chosen.sort_by(|(left, _), (right, _)| order(left, right));
        }
        let total = chosen.len();
        let limit = query.limit.unwrap_or(usize::MAX);
        let first = match (&query.start, start) {
            (Start::Page(page), _) => page.saturating_sub(1).saturating_mul(limit).min(total),
            (_, Some(last)) => chosen.partition_point(|(place, _)| order(place, &last) != Ordering::Greater),
            _ => 0,
        };
        let end = first.saturating_add(limit).min(total);
        let next = (end < total && end > first).then(|| write_token(&chosen[end - 1].0, query));
        let part: Vec<Arc<Listed>> = chosen.drain(first..end).map(|(_, object)| object).collect();
        let objects = self.written::<S>(&part)?;
        Ok(Page { objects, total, next, revision })
    }

    /// All objects of a kind that are seen, with their statuses, in the order they were made.
    pub fn all<S: Noun>(&self) -> Result<Vec<Object<S>>, AppError> {
        self.seen::<S>()?.0.iter().map(|object| object.parse()).collect()
    }

    /// The same, unread, and the revision that they are from.
    pub(super) fn seen<S: Noun>(&self) -> Result<(Vec<Arc<Listed>>, u64), AppError> {
        let (mut objects, revision) = self.lists.of::<S>(self.store.as_ref())?;
        objects.retain(|object| self.scope.sees_listed(S::KIND, object));
        Ok((objects, revision))
    }

    /// What answers show of some objects.
    fn written<S: Noun>(&self, objects: &[Arc<Listed>]) -> Result<Vec<Arc<str>>, AppError> {
        if let Some(complete) = S::LISTED {
            return complete(objects, self);
        }
        let Some(complete) = S::COMPLETE else {
            return Ok(objects.iter().map(|object| Arc::clone(&object.text)).collect());
        };
        let mut objects: Vec<Object<S>> =
            objects.iter().map(|object| object.parse()).collect::<Result<_, _>>()?;
        complete(&mut objects, self)?;
        objects.iter().map(write).collect()
    }
}

/// What the object is sorted by, if it is one of those that were asked for.
fn fits(query: &ListQuery, object: &Listed) -> Option<Value> {
    if !query.selector.matches(&object.labels) {
        return None;
    }
    let of_the_head = |path: &str| match path {
        "id" => Some(&object.id),
        "name" => Some(&object.name),
        _ => None,
    };
    let value_of = |path: &str| match of_the_head(path) {
        Some(text) => Value::String(text.clone()),
        None => at(&Value::Object(fields_on_the_way(&object.text, path)), path).cloned().unwrap_or_default(),
    };
    for (path, wanted) in &query.filters {
        let fits = if let Some(text) = of_the_head(path) {
            wanted.contains(text)
        } else {
            let value = value_of(path);
            wanted.iter().any(|wanted| equals(&value, wanted))
        };
        if !fits {
            return None;
        }
    }
    Some(query.sort_by.as_deref().map_or(Value::Null, value_of))
}

/// The fields of an object that a path may begin with. The others are passed over: lists can be long.
fn fields_on_the_way(text: &str, path: &str) -> Map<String, Value> {
    struct Way<'a>(&'a str);

    impl<'de> Visitor<'de> for Way<'_> {
        type Value = Map<String, Value>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Map::new();
            while let Some(key) = map.next_key::<&str>()? {
                let rest = self.0.strip_prefix(key);
                if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                    fields.insert(key.to_owned(), map.next_value()?);
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(fields)
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(Way(path)).unwrap_or_default()
}

/// The value at a path with dots.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let Value::Object(fields) = value else { return None };
    // Keys of labels have dots themselves.
    match fields.get(path) {
        Some(value) => Some(value),
        None => path.match_indices('.').find_map(|(dot, _)| at(fields.get(&path[..dot])?, &path[dot + 1..])),
    }
}

/// Whether a value is the one that was asked for, or holds it. An empty text asks for fields without a value.
fn equals(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Null => wanted.is_empty(),
        Value::String(text) => text == wanted,
        Value::Bool(value) => wanted.parse() == Ok(*value),
        Value::Number(number) => number.to_string() == wanted,
        Value::Array(items) => {
            items.iter().any(|item| equals(item, wanted)) || items.is_empty() && wanted.is_empty()
        }
        // Such as `external=wan`: where an object can be named by its name alone.
        Value::Object(fields) => ["name", "network", "phase"]
            .into_iter()
            .any(|key| fields.get(key).is_some_and(|value| equals(value, wanted))),
    }
}

impl Place {
    fn new(value: Value, id: String) -> Self {
        // Made once: a list is compared many times over.
        let key = Key::new(&value);
        Self { value, key, id }
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.key.compare(&other.key).then_with(|| self.id.cmp(&other.id))
    }
}

impl Key {
    fn new(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.as_f64().unwrap_or_default()),
            Value::String(text) => text.parse().map_or_else(|_| Self::Text(text.clone()), Self::Address),
            Value::Array(_) | Value::Object(_) => Self::Other(value.to_string()),
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        // JSON has no number that is none.
        self.partial_cmp(other).unwrap_or(Ordering::Equal)
    }
}

/// Refuses fields that the kind does not have.
fn check_fields<S: Noun>(query: &ListQuery, example: Option<&str>) -> Result<(), AppError> {
    let filters = query.filters.iter().map(|(path, _)| (path.as_str(), path.as_str()));
    let sorting = query.sort_by.as_deref().map(|path| ("sort_by", path));
    let mut known: Vec<String> = field_names::<S>().into_iter().map(str::to_owned).collect();
    if let Some(Ok(fields)) = example.map(serde_json::from_str::<Map<String, Value>>) {
        known.extend(fields.into_iter().map(|(key, _)| key));
    }
    let mut errors = Vec::new();
    for (parameter, path) in filters.chain(sorting) {
        let field = path.split('.').next().unwrap_or_default();
        if known.iter().any(|known| known == field) {
            continue;
        }
        let parameters = ["limit", "page", "continue", "sort_by", "ascending", "label_selector"];
        let candidates = known.iter().map(String::as_str).chain(parameters);
        let hint = suggest::nearest(field, candidates).map(|known| format!("did you mean `{known}`?"));
        errors.push(FieldError {
            pointer: format!("?{parameter}"),
            code: "unknown_field".to_owned(),
            message: format!("`{field}` is neither a parameter of lists nor a field of a {}", S::KIND),
            hint,
        });
    }
    if errors.is_empty() { Ok(()) } else { Err(AppError::Invalid { kind: S::KIND, errors }) }
}

/// The token of what follows `last`: a digest of the query, then the place, in hexadecimal digits.
fn write_token(last: &Place, query: &ListQuery) -> String {
    let mut bytes = digest(query).to_vec();
    bytes.extend_from_slice(
        Value::from(vec![last.value.clone(), last.id.clone().into()]).to_string().as_bytes(),
    );
    hexadecimal(&bytes)
}

fn read_token<S: Noun>(token: &str, query: &ListQuery) -> Result<Place, AppError> {
    let refused = |message: &str| {
        let error = FieldError {
            pointer: "?continue".to_owned(),
            code: "invalid_token".to_owned(),
            message: message.to_owned(),
            hint: Some(
                "take `continue` from the answer before, with the same parameters otherwise".to_owned(),
            ),
        };
        AppError::Invalid { kind: S::KIND, errors: vec![error] }
    };
    let digits = token.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    let Some((found, place)) = bytes.as_ref().and_then(|bytes| bytes.split_at_checked(DIGEST_BYTES)) else {
        return Err(refused("the token is none of this daemon's"));
    };
    match serde_json::from_slice::<(Value, String)>(place) {
        Ok((value, id)) if found == digest(query) => Ok(Place::new(value, id)),
        Ok(_) => Err(refused("the token is of a list with other parameters")),
        Err(_) => Err(refused("the token is none of this daemon's")),
    }
}

/// What must be the same for a token to be of use: everything but where the part starts and how long it is.
fn digest(query: &ListQuery) -> [u8; DIGEST_BYTES] {
    let same = ListQuery { limit: None, start: Start::Beginning, ..query.clone() };
    let whole = Sha256::digest(format!("{same:?}").as_bytes());
    std::array::from_fn(|index| whole[index])
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use serde_json::json;

    use super::{Key, at, equals, fields_on_the_way};

    #[test]
    fn values_have_an_order() {
        let sorted = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1),
            json!(2),
            json!(10),
            json!("10.0.0.9"),
            json!("10.0.0.10"),
            json!("a"),
            json!("b"),
            json!(["a"]),
        ];
        let compare = |left, right| Key::new(left).compare(&Key::new(right));
        for (left, right) in sorted.iter().zip(&sorted[1..]) {
            assert_eq!(compare(left, right), Ordering::Less, "{left} {right}");
            assert_eq!(compare(right, left), Ordering::Greater, "{right} {left}");
            assert_eq!(compare(left, left), Ordering::Equal);
        }
    }

    #[test]
    fn paths_lead_through_objects_and_values_are_compared_as_text() {
        let object = json!({"external": {"network": "wan"}, "labels": {"a.b/c": "x"}, "mtu": 1500, "up": true,
            "internal": ["a", "b"], "none": null, "empty": []});
        assert_eq!(at(&object, "external.network"), Some(&json!("wan")));
        assert_eq!(at(&object, "labels.a.b/c"), Some(&json!("x")));
        assert_eq!(at(&object, "external.network.x"), None);
        let text = object.to_string();
        for path in ["external.network", "labels.a.b/c", "mtu", "external.network.x", "ext", "no"] {
            let fields = fields_on_the_way(&text, path);
            assert!(fields.len() <= 1, "{path}: {fields:?}");
            assert_eq!(at(&fields.into(), path), at(&object, path), "{path}");
        }
        for (path, wanted, fits) in [
            ("external", "wan", true),
            ("mtu", "1500", true),
            ("mtu", "15", false),
            ("up", "true", true),
            ("up", "false", false),
            ("internal", "b", true),
            ("internal", "c", false),
            ("none", "", true),
            ("empty", "", true),
            ("internal", "", false),
        ] {
            assert_eq!(equals(&object[path], wanted), fits, "{path}={wanted}");
        }
    }
}
