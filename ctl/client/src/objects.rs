//! The calls for MM3 objects. The type is the caller's choice: a type of the model, or `serde_json::Value` to
//! keep whatever a newer daemon adds.

use edgestack_model::{Kind, Plan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::ClientError;
use crate::transport::{Client, Method, encode_segment};

/// The objects of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List<T> {
    /// The objects.
    pub items: Vec<T>,
    /// How many there are, which may be more than were listed.
    pub total: u64,
}

/// Which objects of a kind are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only those whose labels it selects: `tier=web,stage!=test`.
    pub selector: Option<String>,
    /// The first so many.
    pub limit: Option<usize>,
}

/// A write that is only planned.
#[derive(Clone, Debug, PartialEq)]
pub enum PlannedWrite<'a> {
    /// Of a new object with these fields.
    Create(&'a Map<String, Value>),
    /// Of these fields of the object of this name.
    Update(&'a str, &'a Map<String, Value>),
    /// Of the object of this name.
    Remove(&'a str),
    /// Of it and everything that uses it.
    RemoveWithUsers(&'a str),
}

/// What the daemon says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Version of the daemon.
    pub version: String,
    /// Everything else that it says.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An object as a site file has it, to be changed and sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The text, in YAML.
    pub text: String,
    /// The entity tag of the object that it describes.
    pub etag: Option<String>,
}

/// Path of all objects of a kind.
pub fn collection_path(kind: Kind) -> String {
    format!("/edgetron/resources/kubevirt/{}", kind.plural())
}

/// Path of one object, by name or id.
pub fn item_path(kind: Kind, name: &str) -> String {
    format!("{}/{}", collection_path(kind), encode_segment(name))
}

impl Client {
    /// All objects of a kind.
    pub async fn list<T: DeserializeOwned>(&self, kind: Kind) -> Result<List<T>, ClientError> {
        self.list_where(kind, &ListQuery::default()).await
    }

    /// The objects of a kind that `query` describes; the total is of all that its selector selects.
    pub async fn list_where<T: DeserializeOwned>(
        &self,
        kind: Kind,
        query: &ListQuery,
    ) -> Result<List<T>, ClientError> {
        let mut path = collection_path(kind);
        let selector = query.selector.as_ref().map(|text| format!("label_selector={}", encode_segment(text)));
        let limit = query.limit.map(|limit| format!("limit={limit}"));
        let parameters: Vec<String> = selector.into_iter().chain(limit).collect();
        if !parameters.is_empty() {
            path = format!("{path}?{}", parameters.join("&"));
        }
        let mut body = self.request(Method::GET, &path, None).await?.body;
        let items: Vec<T> = decode(&path, body[kind.plural()].take())?;
        let total = body["total"].as_u64().unwrap_or(items.len() as u64);
        Ok(List { items, total })
    }

    /// One object, by name or id.
    pub async fn get<T: DeserializeOwned>(&self, kind: Kind, name: &str) -> Result<T, ClientError> {
        let path = item_path(kind, name);
        let mut body = self.request(Method::GET, &path, None).await?.body;
        decode(&path, body[kind.singular()].take())
    }

    /// Creates an object and returns it as it now is.
    pub async fn create<T: DeserializeOwned>(
        &self,
        kind: Kind,
        object: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.write(kind, Method::POST, &collection_path(kind), object).await
    }

    /// Replaces an object: what `object` leaves out gets its default.
    pub async fn replace<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
        object: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.write(kind, Method::PUT, &item_path(kind, name), object).await
    }

    /// An object as a site file has it.
    pub async fn manifest(&self, kind: Kind, name: &str) -> Result<Manifest, ClientError> {
        let path = format!("{}/manifest", item_path(kind, name));
        let mut reply = self.request(Method::GET, &path, None).await?;
        Ok(Manifest { text: decode(&path, reply.body["manifest"].take())?, etag: reply.etag })
    }

    /// Replaces an object by what the wrapped body says, unless it has another entity tag by now.
    pub async fn replace_unchanged(
        &self,
        kind: Kind,
        name: &str,
        body: &Value,
        etag: Option<&str>,
    ) -> Result<Value, ClientError> {
        let path = item_path(kind, name);
        let mut body = self.request_where(Method::PUT, &path, Some(body), etag).await?.body;
        decode(&path, body[kind.singular()].take())
    }

    /// Changes the fields that `fields` has, and no others.
    pub async fn update<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
        fields: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.write(kind, Method::PATCH, &item_path(kind, name), fields).await
    }

    /// Removes an object. One that others use is not removed.
    pub async fn remove(&self, kind: Kind, name: &str) -> Result<(), ClientError> {
        self.request(Method::DELETE, &item_path(kind, name), None).await.map(|_| ())
    }

    /// Removes an object and everything that uses it.
    pub async fn remove_with_users(&self, kind: Kind, name: &str) -> Result<(), ClientError> {
        let path = format!("{}?cascade=true", item_path(kind, name));
        self.request(Method::DELETE, &path, None).await.map(|_| ())
    }

    /// What a write would do. Nothing is done.
    pub async fn plan(&self, kind: Kind, write: &PlannedWrite<'_>) -> Result<Plan, ClientError> {
        let wrapped = |fields: &Map<String, Value>| json!({ kind.singular(): fields });
        let (method, path, body) = match write {
            PlannedWrite::Create(fields) => (Method::POST, collection_path(kind), Some(wrapped(fields))),
            PlannedWrite::Update(name, fields) => {
                (Method::PATCH, item_path(kind, name), Some(wrapped(fields)))
            }
            PlannedWrite::Remove(name) => (Method::DELETE, item_path(kind, name), None),
            PlannedWrite::RemoveWithUsers(name) => {
                (Method::DELETE, format!("{}?cascade=true", item_path(kind, name)), None)
            }
        };
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}dry_run=true");
        let mut answer = self.request(method, &path, body.as_ref()).await?.body;
        decode(&path, answer["plan"].take())
    }

    /// Gives a router its next hop upstream.
    pub async fn create_peer_router(
        &self,
        router: &str,
        peer: &impl Serialize,
    ) -> Result<Value, ClientError> {
        let body = json!({ "peer_router": to_value(peer)? });
        let path = format!("{}/peer_routers", item_path(Kind::Router, router));
        Ok(self.request(Method::POST, &path, Some(&body)).await?.body)
    }

    /// The next hops of a router.
    pub async fn list_peer_routers(&self, router: &str) -> Result<Vec<Value>, ClientError> {
        let path = format!("{}/peer_routers", item_path(Kind::Router, router));
        let mut body = self.request(Method::GET, &path, None).await?.body;
        decode(&path, body["peer_routers"].take())
    }

    /// Takes a next hop from a router.
    pub async fn remove_peer_router(&self, router: &str, address: &str) -> Result<(), ClientError> {
        let path = format!("{}/peer_routers/{}", item_path(Kind::Router, router), encode_segment(address));
        self.request(Method::DELETE, &path, None).await.map(|_| ())
    }

    /// Forwards a port of a router to a workload.
    pub async fn create_port_forward(
        &self,
        router: &str,
        forward: &impl Serialize,
    ) -> Result<Value, ClientError> {
        let body = json!({ "port_forward": to_value(forward)? });
        let path = format!("{}/port_forwards", item_path(Kind::Router, router));
        Ok(self.request(Method::POST, &path, Some(&body)).await?.body)
    }

    /// The ports that a router forwards.
    pub async fn list_port_forwards(&self, router: &str) -> Result<Vec<Value>, ClientError> {
        let path = format!("{}/port_forwards", item_path(Kind::Router, router));
        let mut body = self.request(Method::GET, &path, None).await?.body;
        decode(&path, body["port_forwards"].take())
    }

    /// Forwards a port no more, named by its id or by what it is for.
    pub async fn remove_port_forward(&self, router: &str, forward: &str) -> Result<(), ClientError> {
        let path = format!("{}/port_forwards/{}", item_path(Kind::Router, router), encode_segment(forward));
        self.request(Method::DELETE, &path, None).await.map(|_| ())
    }

    /// Adds a rule to a load balancer.
    pub async fn create_lb_rule(&self, lb: &str, rule: &impl Serialize) -> Result<Value, ClientError> {
        let body = json!({ "lb_rule": to_value(rule)? });
        let path = format!("{}/rules", item_path(Kind::LoadBalancer, lb));
        Ok(self.request(Method::POST, &path, Some(&body)).await?.body)
    }

    /// The rules of a load balancer, or of all.
    pub async fn list_lb_rules(&self, lb: Option<&str>) -> Result<Vec<Value>, ClientError> {
        let path = match lb {
            Some(lb) => format!("{}/rules", item_path(Kind::LoadBalancer, lb)),
            None => "/edgetron/resources/kubevirt/lb_rules".to_owned(),
        };
        let mut body = self.request(Method::GET, &path, None).await?.body;
        decode(&path, body["lb_rules"].take())
    }

    /// Removes a rule of a load balancer, by its id or by what it is for.
    pub async fn remove_lb_rule(&self, lb: &str, rule: &str) -> Result<(), ClientError> {
        let path = format!("{}/rules/{}", item_path(Kind::LoadBalancer, lb), encode_segment(rule));
        self.request(Method::DELETE, &path, None).await.map(|_| ())
    }

    /// Version of the daemon.
    pub async fn version(&self) -> Result<Version, ClientError> {
        let path = "/version";
        decode(path, self.request(Method::GET, path, None).await?.body)
    }

    async fn write<T: DeserializeOwned>(
        &self,
        kind: Kind,
        method: Method,
        path: &str,
        object: &impl Serialize,
    ) -> Result<T, ClientError> {
        let mut wrapped = Map::new();
        wrapped.insert(kind.singular().to_owned(), to_value(object)?);
        let mut body = self.request(method, path, Some(&Value::Object(wrapped))).await?.body;
        decode(path, body[kind.singular()].take())
    }
}

fn to_value(object: &impl Serialize) -> Result<Value, ClientError> {
    serde_json::to_value(object).map_err(|error| ClientError::Request(error.to_string()))
}

pub(crate) fn decode<T: DeserializeOwned>(path: &str, body: Value) -> Result<T, ClientError> {
    serde_json::from_value(body).map_err(|source| ClientError::Decode { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use edgestack_model::Kind;

    use super::item_path;

    #[test]
    fn names_in_paths_are_escaped() {
        assert_eq!(item_path(Kind::Router, "a/b c"), "/edgetron/resources/kubevirt/routers/a%2Fb%20c");
        assert_eq!(item_path(Kind::Port, ".."), "/edgetron/resources/kubevirt/ports/%2E%2E");
    }
}
