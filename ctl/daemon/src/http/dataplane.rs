//! Paths that look into the dataplane: what is plugged in, what flows, what was dropped and why.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgestack_dataplane::capture::{Capture, CaptureError, SNAP_LENGTH_MAX};
use edgestack_dataplane::engine::TraceError;
use edgestack_dataplane::inspect::{FlowFilter, LiveTraceRequest, TraceRequest};
use edgestack_dataplane::io::pcap_file;
use edgestack_dataplane::live_trace::{
    LIVE_TRACE_LASTS_MAX, LIVE_TRACE_PACKETS_DEFAULT, LiveTrace, LiveTraceError,
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::body::read_json;
use super::error::Failure;
use super::guard::Granted;
use super::routes::Routes;
use super::{Api, NETWORK_PREFIX, chunks};
use crate::access::table::Resource;
use crate::gateway::{Gateway, GatewayError};

/// Flows in one answer where the request does not say.
const FLOWS_LIMIT_DEFAULT: usize = 1000;
/// Most flows in one answer: what clients read at once.
pub(super) const FLOWS_LIMIT_MAX: usize = 50_000;
/// Chunks of a capture or a live trace that wait for the client.
const CAPTURE_CHUNKS: usize = 64;
/// How often one without packets looks whether its client is still there.
const CAPTURE_POLL: Duration = Duration::from_millis(200);

/// The paths.
pub(super) fn routes() -> Routes {
    let path = |name: &str| format!("{NETWORK_PREFIX}/{name}");
    let traffic = Resource::Traffic;
    Routes::default()
        .read(&path("ports"), traffic, ports)
        .read(&path("flows"), traffic, flows)
        .delete(&path("flows"), traffic, clear_flows)
        .read(&path("nat"), traffic, nat)
        .read(&path("load_balancers"), traffic, load_balancers)
        .read(&path("neighbours"), traffic, neighbours)
        .read(&path("drops"), traffic, drops)
        .read(&path("rules"), traffic, rules)
        .read(&path("counters"), traffic, counters)
        .read(&path("snapshot"), traffic, snapshot)
        .ask(&path("trace"), traffic, trace)
        .read(&path("trace/live"), traffic, live_trace)
        .read(&path("capture"), traffic, capture)
}

/// Asks the dataplane on a thread that may block.
async fn ask<T: Send + 'static>(
    api: &Api,
    question: impl FnOnce(&Gateway) -> Result<T, GatewayError> + Send + 'static,
) -> Result<T, Failure> {
    let gateway = api.gateway.clone();
    let answer = tokio::task::spawn_blocking(move || question(&gateway)).await;
    match answer {
        Ok(answer) => answer.map_err(Failure::from),
        Err(error) => Err(Failure::internal(format!("the dataplane did not answer: {error}"))),
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        let detail = error.to_string();
        match error {
            GatewayError::Off { .. } => Self::dataplane_off(detail),
            GatewayError::Trace(TraceError::UnknownPort(_))
            | GatewayError::LiveTrace(LiveTraceError::UnknownPort(_))
            | GatewayError::Capture(CaptureError::UnknownPort(_)) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such port", detail)
            }
            GatewayError::Filter(_) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid", "The filter means no connections", detail)
            }
            GatewayError::LiveTrace(LiveTraceError::TooMany) => {
                let title = "The live trace cannot be started";
                Self::new(StatusCode::CONFLICT, "conflict", title, detail)
            }
            GatewayError::Trace(_) | GatewayError::LiveTrace(_) => {
                let title = "The packet cannot be traced";
                Self::new(StatusCode::BAD_REQUEST, "invalid", title, detail)
            }
            GatewayError::Capture(_) => {
                let title = "The capture cannot be started";
                Self::new(StatusCode::CONFLICT, "conflict", title, detail)
            }
        }
    }
}

async fn ports(api: Api) -> Result<Response, Failure> {
    let ports = ask(&api, Gateway::ports).await?;
    Ok(axum::Json(json!({ "ports": ports })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsQuery {
    limit: Option<usize>,
    protocol: Option<String>,
    address: Option<IpAddr>,
    transport_port: Option<u16>,
    state: Option<String>,
    port: Option<String>,
    project: Option<String>,
    /// Of a removal without a filter: that this is meant.
    all: Option<bool>,
}

impl FlowsQuery {
    fn filter(self) -> FlowFilter {
        let Self { limit: _, protocol, address, transport_port, state, port, project, all: _ } = self;
        FlowFilter { protocol, address, transport_port, state, port, project }
    }
}

async fn flows(
    api: Api,
    query: Result<Query<FlowsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| Failure::malformed(error.body_text()))?;
    let limit = query.limit.unwrap_or(FLOWS_LIMIT_DEFAULT).min(FLOWS_LIMIT_MAX);
    let filter = query.filter();
    let flows = ask(&api, move |gateway| gateway.flows(&filter, limit)).await?;
    Ok(axum::Json(json!({ "flows": flows })).into_response())
}

/// Ends connections: those that a filter means, or all of them when that is said.
async fn clear_flows(
    api: Api,
    query: Result<Query<FlowsQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| Failure::malformed(error.body_text()))?;
    let (is_limited, is_all) = (query.limit.is_some(), query.all.unwrap_or(false));
    let filter = query.filter();
    if is_limited || is_all != (filter == FlowFilter::default()) {
        let detail = "name what to end by protocol, address, transport_port, state, port or project, or write all=true alone";
        return Err(Failure::malformed(detail.to_owned()));
    }
    let ended = ask(&api, move |gateway| gateway.clear_flows(&filter)).await?;
    Ok(axum::Json(json!({ "message": "OK", "connections": ended })).into_response())
}

async fn nat(api: Api) -> Result<Response, Failure> {
    let nat = ask(&api, Gateway::nat).await?;
    Ok(axum::Json(json!({ "nat": nat })).into_response())
}

async fn load_balancers(api: Api) -> Result<Response, Failure> {
    let load_balancers = ask(&api, Gateway::load_balancers).await?;
    Ok(axum::Json(json!({ "load_balancers": load_balancers })).into_response())
}

async fn neighbours(api: Api) -> Result<Response, Failure> {
    let neighbours = ask(&api, Gateway::neighbours).await?;
    Ok(axum::Json(json!({ "neighbours": neighbours })).into_response())
}

async fn rules(api: Api) -> Result<Response, Failure> {
    let rules = ask(&api, Gateway::rule_hits).await?;
    Ok(axum::Json(json!({ "rules": rules })).into_response())
}

async fn drops(api: Api) -> Result<Response, Failure> {
    let drops = ask(&api, Gateway::drops).await?;
    Ok(axum::Json(json!({ "drops": drops })).into_response())
}

async fn counters(api: Api) -> Result<Response, Failure> {
    let counters = ask(&api, Gateway::counters).await?;
    Ok(axum::Json(json!({ "counters": counters })).into_response())
}

async fn snapshot(api: Api) -> Result<Response, Failure> {
    let snapshot = ask(&api, Gateway::snapshot).await?;
    Ok(axum::Json(json!({ "snapshot": snapshot })).into_response())
}

async fn trace(api: Api, headers: HeaderMap, body: Body) -> Result<Response, Failure> {
    let body = read_json(&headers, body).await?;
    let request: TraceRequest = serde_json::from_value(body)
        .map_err(|error| Failure::malformed(format!("the described packet: {error}")))?;
    let report = ask(&api, move |gateway| gateway.trace(&request)).await?;
    Ok(axum::Json(report).into_response())
}

/// Streams a JSON object a line until `count` packets were traced, the time is up, or the client goes away or may no longer.
async fn live_trace(
    api: Api,
    Extension(granted): Extension<Granted>,
    query: Result<Query<LiveTraceRequest>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(request) = query.map_err(|error| Failure::malformed(error.body_text()))?;
    let count = request.count.unwrap_or(LIVE_TRACE_PACKETS_DEFAULT);
    let records = ask(&api, move |gateway| gateway.live_trace(&request)).await?;
    let (sender, receiver) = mpsc::channel(CAPTURE_CHUNKS);
    tokio::task::spawn_blocking(move || copy_records(&records, &sender, count));
    let mut response = chunks::body(receiver, granted.lost()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

fn copy_records(records: &LiveTrace, sender: &mpsc::Sender<Bytes>, count: u64) {
    let started = Instant::now();
    let mut seen = 0;
    while seen < count && !sender.is_closed() && started.elapsed() < LIVE_TRACE_LASTS_MAX {
        let record = match records.recv_timeout(CAPTURE_POLL) {
            Ok(record) => record,
            Err(error) if error.is_disconnected() => return,
            Err(_) => continue,
        };
        seen += 1;
        let Ok(mut line) = serde_json::to_vec(&record) else { return };
        line.push(b'\n');
        if sender.blocking_send(Bytes::from(line)).is_err() {
            return;
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureQuery {
    port: String,
    limit: Option<u64>,
}

/// Streams a pcap file until `limit` packets were seen, or the client goes away or may no longer.
async fn capture(
    api: Api,
    Extension(granted): Extension<Granted>,
    query: Result<Query<CaptureQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Failure> {
    let Query(CaptureQuery { port, limit }) = query.map_err(|error| Failure::malformed(error.body_text()))?;
    let limit = limit.unwrap_or(u64::MAX);
    let packets = ask(&api, move |gateway| gateway.capture(&port, limit)).await?;
    let (sender, receiver) = mpsc::channel(CAPTURE_CHUNKS);
    tokio::task::spawn_blocking(move || copy_packets(&packets, &sender, limit));
    let mut response = chunks::body(receiver, granted.lost()).into_response();
    let media_type = HeaderValue::from_static("application/vnd.tcpdump.pcap");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

fn copy_packets(packets: &Capture, sender: &mpsc::Sender<Bytes>, limit: u64) {
    let header = pcap_file::file_header(SNAP_LENGTH_MAX as u32);
    if sender.blocking_send(Bytes::copy_from_slice(&header)).is_err() {
        return;
    }
    let mut seen = 0;
    while seen < limit && !sender.is_closed() {
        let packet = match packets.recv_timeout(CAPTURE_POLL) {
            Ok(packet) => packet,
            Err(error) if error.is_disconnected() => return,
            Err(_) => continue,
        };
        seen += 1;
        let length = packet.bytes.len() as u32;
        let record = pcap_file::record_header(packet.timestamp_ns, length, packet.original_length);
        let mut chunk = Vec::with_capacity(record.len() + packet.bytes.len());
        chunk.extend_from_slice(&record);
        chunk.extend_from_slice(&packet.bytes);
        if sender.blocking_send(Bytes::from(chunk)).is_err() {
            return;
        }
    }
}
