//! Runs one case in one mode.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use edgestack_dataplane::config::Config;
use edgestack_dataplane::engine::EngineSettings;

use crate::case::{Case, Host, MAX_ADVANCE_MS, Step};
use crate::compare::{Frames, compare};
use crate::mode::{Mode, equal_effect};
use crate::notation::names::Names;
use crate::notation::print::print;
use crate::notation::{build::build, parse};
use crate::site::Site;

/// Runs the case in `file`; an error is a report for people.
pub(crate) fn run(file: &Path, topologies: &Path, mode: Mode) -> Result<(), String> {
    let (case, topology) = Case::load(file, topologies).map_err(|error| error.to_string())?;
    if let (Mode::Restart, Some(reason)) = (mode, &case.no_restart) {
        eprintln!("{}: not run with restarts: {reason}", case.name);
        return Ok(());
    }
    let settings = EngineSettings { tcp_pickup: case.settings.tcp_pickup, ..EngineSettings::default() };
    let mut site = Site::new(mode, settings)?;
    site.apply(&topology.config)?;
    site.settle()?;
    let mut state = State { config: topology.config, hosts: topology.hosts, names: Names::default(), mode };
    for (index, step) in case.timeline.iter().enumerate() {
        state.step(&mut site, index, step).map_err(|problem| {
            format!(
                "{}: step {} of {}{}{}\n{problem}\n  ({}; {})",
                case.name,
                index + 1,
                case.timeline.len(),
                if step.note.is_empty() { "" } else { ": " },
                step.note,
                case.description.trim(),
                case.source.join(", "),
            )
        })?;
    }
    if let Some(hits) = site.tier0_hits().filter(|hits| *hits < case.tier0_hits) {
        return Err(format!("{}: tier 0 forwarded {hits} packets, not {}", case.name, case.tier0_hits));
    }
    site.finish().map_err(|problem| format!("{}: at the end: {problem}", case.name))
}

/// What the case has set so far.
struct State {
    config: Config,
    hosts: Vec<Host>,
    names: Names,
    mode: Mode,
}

impl State {
    fn step(&mut self, site: &mut Site, index: usize, step: &Step) -> Result<(), String> {
        if self.mode == Mode::Restart {
            site.restart(&self.config)?;
        }
        if let Some(patch) = &step.config {
            patch.apply(&mut self.config)?;
        }
        if self.mode == Mode::Change {
            site.apply(&equal_effect(&self.config, index))?;
        } else if step.config.is_some() {
            site.apply(&self.config)?;
        }
        self.names = Names::of(&self.config, &self.hosts, std::mem::take(&mut self.names));
        let drops_before = site.drops();
        let mut observed = Frames::new();
        let mut sent = String::new();
        for (port, texts) in &step.send {
            let mut frames = Vec::new();
            for text in texts.texts() {
                let layers = parse(text).map_err(|error| format!("`send`: {error}"))?;
                let frame = build(&layers, &self.names, None).map_err(|error| format!("`send`: {error}"))?;
                let _ = writeln!(sent, "  {port}: sent     {}", print(&frame, &self.names));
                frames.push(frame);
            }
            append(&mut observed, site.send(port, &frames)?);
        }
        if step.advance_ms > MAX_ADVANCE_MS {
            return Err(format!("`advance_ms` is limited to {MAX_ADVANCE_MS}"));
        }
        append(&mut observed, site.advance(step.advance_ms)?);
        observed.retain(|port, _| !step.unchecked.contains(port));
        let mut report =
            compare(&step.expect, &observed, &self.names).map_err(|error| format!("`expect`: {error}"))?;
        report.push_str(&compare_drops(step, &drops_before, &site.drops()));
        let (by_port, by_reason) = (site.drops_by_port(), site.drops().values().sum::<u64>());
        if by_port != by_reason {
            let _ = writeln!(report, "  drops: {by_port} by port, {by_reason} by reason");
        }
        if let Some(expected) = step.sessions.filter(|expected| *expected != site.sessions()) {
            let _ = writeln!(report, "  sessions: expected {expected}, got {}", site.sessions());
        }
        if report.is_empty() { Ok(()) } else { Err(format!("{sent}{}", report.trim_end())) }
    }
}

fn append(all: &mut Frames, more: Frames) {
    for (port, frames) in more {
        all.entry(port).or_default().extend(frames);
    }
}

/// The reasons that a step counts, each with its number, against those that were counted.
fn compare_drops(step: &Step, before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> String {
    let mut expected = BTreeMap::new();
    for reason in step.drop.texts() {
        *expected.entry(reason.clone()).or_insert(0) += 1;
    }
    let mut counted = after.clone();
    for (reason, packets) in before {
        *counted.entry(reason.clone()).or_default() -= packets;
    }
    counted.retain(|_, packets| *packets > 0);
    let same = match expected.get("any") {
        _ if expected.contains_key("any?") => true,
        Some(packets) => counted.values().sum::<u64>() == *packets,
        None => counted == expected,
    };
    if same { String::new() } else { format!("  drops: expected {expected:?}, counted {counted:?}\n") }
}
