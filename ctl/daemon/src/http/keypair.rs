//! Paths of keypairs: those that every kind has. Where a keypair is made without a public key, the server makes one:
//! the answer has the private key, once. It is never stored, never logged and never told again.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use edgestack_model::KeypairSpec;
use edgestack_model::keypair::KeyType;
use serde_json::{Map, Value};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};

use super::body::read_json;
use super::error::Failure;
use super::objects::{self, draft};
use super::routes::Routes;
use super::write_call::{WriteCall, Written};
use crate::app::Created;

/// The paths.
pub(super) fn routes() -> Routes {
    objects::routes_with_create::<KeypairSpec, _>(create)
}

async fn create(call: WriteCall, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let mut wanted = draft::<KeypairSpec>(&body)?;
    let mut more = Map::new();
    if let Some(kind) = wanted.spec.generate {
        let key = generate(kind, wanted.name.as_deref().unwrap_or_default())?;
        let unwritten = |_| Failure::internal("the key that was made cannot be written");
        let private_key = key.to_openssh(LineEnding::LF).map_err(unwritten)?;
        wanted.spec = KeypairSpec::of(key.public_key(), wanted.spec.description)
            .map_err(|refusal| Failure::internal(refusal.message))?;
        more.insert("private_key".to_owned(), Value::String(private_key.to_string()));
    }
    let Written { value: created, plan } = call.run(move |app| app.create(&wanted)).await?;
    let (value, status) = match created {
        Created::New(shown) => (shown, StatusCode::CREATED),
        Created::Existing(shown) => (shown, StatusCode::OK),
    };
    let is_secret = !more.is_empty();
    if plan.is_some() || status != StatusCode::CREATED {
        more.clear(); // The key of a keypair that was not made is nobody's.
    }
    let mut response = Written { value, plan }.answer_with(status, more);
    if is_secret {
        // Nobody on the way may keep it, nor does the daemon itself for requests that are sent again.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

fn generate(kind: KeyType, comment: &str) -> Result<PrivateKey, Failure> {
    let algorithm = match kind {
        KeyType::Ed25519 => Algorithm::Ed25519,
        KeyType::EcdsaP256 => Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    };
    let mut key = PrivateKey::random(&mut OsRng, algorithm)
        .map_err(|error| Failure::internal(format!("no key can be made: {error}")))?;
    key.set_comment(comment);
    Ok(key)
}
