//! Router discovery: whether who asks for routers is answered, and how (RFC 4861, section 6.2.6).

use crate::pipeline::{Context, Decision, Response, Stage};
use crate::snapshot::Port;
use crate::trace::Trace;
use crate::wire::headers::Headers;
use crate::wire::router_discovery::Solicitation;

/// What becomes of a solicitation. Routers outside are no matter of the gateway's, nor is it one for them.
pub(super) fn run(
    context: &Context<'_>,
    headers: &Headers,
    solicitation: &Solicitation,
    port: &Port,
    trace: &mut Trace,
) -> Decision {
    let is_told = context.snapshot.networks[port.network].services.advertisement.is_some();
    let response = if port.workload.is_none() || !is_told {
        Response::Silence
    } else if solicitation.source.is_unspecified() {
        Response::Advertisement(None)
    } else {
        Response::Advertisement(Some((solicitation.source, headers.ethernet_source)))
    };
    trace.step(Stage::Respond, || match response {
        Response::Advertisement(None) => "answered to all: the router advertises itself".to_owned(),
        Response::Advertisement(Some((host, _))) => {
            format!("answered to {host}: the router advertises itself")
        }
        _ => "needs no answer: nothing is advertised here".to_owned(),
    });
    Decision::Respond(response)
}
