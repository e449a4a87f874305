//! The calls that look into the dataplane, and the one that ends connections.

use edgestack_dataplane::inspect::{
    CountersView, DropView, FlowFilter, FlowView, LiveTraceRequest, LoadBalancerView, NatView, NeighbourView,
    PortView, RuleHitsView, TraceReport, TraceRequest,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ClientError;
use crate::objects::decode;
use crate::transport::{BodyStream, Client, Method, encode_segment};

const BASE: &str = "/edgetron/network";

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureQuery {
    /// Name or id of the port.
    pub port: String,
    /// Ends after this many packets; goes on until it is dropped where none.
    pub limit_packets: Option<u64>,
}

impl Client {
    /// Ports and their counters.
    pub async fn ports(&self) -> Result<Vec<PortView>, ClientError> {
        self.inspect("ports", "").await
    }

    /// Both directions of at most `limit` connections that a filter means.
    pub async fn flows(&self, filter: &FlowFilter, limit: usize) -> Result<Vec<FlowView>, ClientError> {
        self.inspect("flows", &format!("?limit={limit}{}", filter_query(filter))).await
    }

    /// Ends the connections that a filter means, or all where it names nothing; how many that were.
    pub async fn clear_flows(&self, filter: &FlowFilter) -> Result<u64, ClientError> {
        let query = filter_query(filter);
        let query = if query.is_empty() { "&all=true".to_owned() } else { query };
        let path = format!("{BASE}/flows?{}", &query[1..]);
        let mut body = self.request(Method::DELETE, &path, None).await?.body;
        decode(&path, body["connections"].take())
    }

    /// Translations.
    pub async fn nat(&self) -> Result<Vec<NatView>, ClientError> {
        self.inspect("nat", "").await
    }

    /// Load balancers and their members.
    pub async fn load_balancers(&self) -> Result<Vec<LoadBalancerView>, ClientError> {
        self.inspect("load_balancers", "").await
    }

    /// Neighbours on external networks.
    pub async fn neighbours(&self) -> Result<Vec<NeighbourView>, ClientError> {
        self.inspect("neighbours", "").await
    }

    /// Drops by reason.
    pub async fn drops(&self) -> Result<Vec<DropView>, ClientError> {
        self.inspect("drops", "").await
    }

    /// What the rules of security groups have allowed so far.
    pub async fn rule_hits(&self) -> Result<Vec<RuleHitsView>, ClientError> {
        self.inspect("rules", "").await
    }

    /// Counters of the whole dataplane.
    pub async fn counters(&self) -> Result<CountersView, ClientError> {
        self.inspect("counters", "").await
    }

    /// The configuration that packets are decided by.
    pub async fn snapshot(&self) -> Result<Value, ClientError> {
        self.inspect("snapshot", "").await
    }

    /// What would happen to a packet.
    pub async fn trace(&self, request: &TraceRequest) -> Result<TraceReport, ClientError> {
        let path = format!("{BASE}/trace");
        let body = serde_json::to_value(request).map_err(|error| ClientError::Request(error.to_string()))?;
        decode(&path, self.request(Method::POST, &path, Some(&body)).await?.body)
    }

    /// What becomes of packets that pass: a [`LiveTraceView`](edgestack_dataplane::inspect::LiveTraceView) a line.
    pub async fn live_trace(&self, request: &LiveTraceRequest) -> Result<BodyStream, ClientError> {
        let LiveTraceRequest { port, protocol, source, destination, source_port, destination_port, count } =
            request;
        let fields = [
            ("port", port.clone()),
            ("protocol", protocol.clone()),
            ("source", source.map(|address| address.to_string())),
            ("destination", destination.map(|address| address.to_string())),
            ("source_port", source_port.map(|port| port.to_string())),
            ("destination_port", destination_port.map(|port| port.to_string())),
            ("count", count.map(|count| count.to_string())),
        ];
        let given = fields
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name}={}", encode_segment(&value))));
        self.stream(&format!("{BASE}/trace/live?{}", given.collect::<Vec<_>>().join("&"))).await
    }

    /// Packets of a port as a pcap file that grows.
    pub async fn capture(&self, query: &CaptureQuery) -> Result<BodyStream, ClientError> {
        let limit = query.limit_packets.map(|limit| format!("&limit={limit}")).unwrap_or_default();
        let path = format!("{BASE}/capture?port={}{limit}", encode_segment(&query.port));
        self.stream(&path).await
    }

    async fn inspect<T: DeserializeOwned>(&self, table: &str, query: &str) -> Result<T, ClientError> {
        let path = format!("{BASE}/{table}{query}");
        let mut body = self.request(Method::GET, &path, None).await?.body;
        decode(&path, body[table].take())
    }
}

/// A filter as parameters, each with the `&` before it.
fn filter_query(filter: &FlowFilter) -> String {
    let FlowFilter { protocol, address, transport_port, state, port, project } = filter;
    let parameters = [
        ("protocol", protocol.clone()),
        ("address", address.map(|address| address.to_string())),
        ("transport_port", transport_port.map(|port| port.to_string())),
        ("state", state.clone()),
        ("port", port.clone()),
        ("project", project.clone()),
    ];
    parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("&{name}={}", encode_segment(&value?))))
        .collect()
}
