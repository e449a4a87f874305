//! Bodies of requests: read within limits, parsed with the place of a mistake named.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use edgestack_model::Kind;
use edgestack_model::reader::Reader;
use serde_json::Value;

use super::error::Failure;
use crate::app::AppError;

/// Bytes of a request's body.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;

/// The JSON value in the body of a request.
pub(super) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Value, Failure> {
    let media_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if let Some(media_type) = media_type
        && !is_json(media_type)
    {
        let detail = format!("the body is `{media_type}`; send `application/json` (curl does with --json)");
        let title = "The body has the wrong media type";
        return Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            title,
            detail,
        ));
    }
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let detail = format!("the body is cut off or larger than {BODY_BYTES_MAX} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The body is too large", detail)
    })?;
    if bytes.is_empty() {
        return Err(Failure::malformed("the body is empty; a JSON object is expected"));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::malformed(format!("the body is no JSON: {error}")))
}

/// Reads the object under `key` in a body, which is a part of an object of `kind`.
pub(super) fn read_part<T>(
    kind: Kind,
    body: &Value,
    key: &'static str,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, AppError> {
    let mut errors = Vec::new();
    let mut part = None;
    if let Some(mut outer) = Reader::new(body, String::new(), &mut errors) {
        if outer.has(key) {
            part = outer.object(key, read);
        } else {
            outer.required(key, "an object", |_| Ok(()));
        }
        outer.finish();
    }
    match part {
        Some(part) if errors.is_empty() => Ok(part),
        _ => Err(AppError::Invalid { kind, errors }),
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("application/merge-patch+json")
}

/// Changes `target` by a merge patch (RFC 7396).
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{is_json, merge};

    #[test]
    fn merge_patches_follow_the_examples_of_the_rfc() {
        // RFC 7396, appendix A.
        for (original, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a"]), json!({"a": "b"}), json!({"a": "b"})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut target = original.clone();
            merge(&mut target, &patch);
            assert_eq!(target, result, "{original} patched by {patch}");
        }
    }

    #[test]
    fn media_types_may_have_parameters() {
        assert!(is_json("application/json; charset=utf-8"));
        assert!(is_json("application/merge-patch+json"));
        assert!(!is_json("text/plain"));
    }
}
