//! The table of RFC requirements: which case proves which, and what a run of all cases says of each.
//!
//! `requirements.yaml` lists the requirements; cases name theirs in `source:`. [`check`] refuses requirements that nobody
//! looks after and cases that name what is not there; [`report`] writes docs/conformance.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::case::Case;
use crate::mode::Mode;

/// Longest line of the report, in characters.
const LINE_CHARACTERS_MAX: usize = 120;

/// The requirements of one RFC.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rfc {
    #[serde(rename = "rfc")]
    number: u32,
    title: String,
    requirements: Vec<Requirement>,
}

/// One requirement.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    id: String,
    level: String,
    text: String,
    /// Why no case is needed.
    not_applicable: Option<String>,
    /// What is not done yet.
    missing: Option<String>,
}

/// The requirements, and the cases by what they name in `source:`.
pub(crate) struct Matrix {
    rfcs: Vec<Rfc>,
    cases: BTreeMap<String, BTreeSet<String>>,
}

/// What came out of the cases that have run, by name of the case and mode.
#[derive(Default)]
pub(crate) struct Results(Mutex<BTreeMap<String, Vec<bool>>>);

impl Results {
    /// Notes what came out of a case in one mode.
    pub(crate) fn note(&self, case: &str, passed: bool) {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        results.entry(case.to_owned()).or_default().push(passed);
    }
}

impl Matrix {
    /// Reads the requirements, and what the cases say that they prove.
    pub(crate) fn load(root: &Path, files: &[(String, PathBuf)]) -> Result<Self, String> {
        let path = root.join("requirements.yaml");
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let rfcs = serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut cases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, file) in files {
            for source in Case::sources(file).map_err(|error| error.to_string())? {
                cases.entry(source).or_default().insert(name.clone());
            }
        }
        Ok(Self { rfcs, cases })
    }

    /// Every requirement has a case or a reason to have none, and every case names requirements that there are.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut problems = Vec::new();
        for rfc in &self.rfcs {
            for requirement in &rfc.requirements {
                let is_looked_after = !self.cases_of(rfc, requirement).is_empty()
                    || requirement.not_applicable.is_some()
                    || requirement.missing.is_some();
                if !is_looked_after {
                    problems.push(format!(
                        "RFC {} {}: no case names it in `source:`; write one, or say in requirements.yaml why there is none",
                        rfc.number, requirement.id
                    ));
                }
            }
        }
        for (source, cases) in &self.cases {
            let Some((number, id)) = split(source) else { continue };
            let Some(rfc) = self.rfcs.iter().find(|rfc| rfc.number == number) else { continue };
            let is_numbered = id.starts_with("REQ-") || rfc.number == 7857;
            if is_numbered && !rfc.requirements.iter().any(|requirement| is_of(&id, &requirement.id)) {
                let cases: Vec<_> = cases.iter().map(String::as_str).collect();
                problems.push(format!("{source}: {} names it, requirements.yaml does not", cases.join(", ")));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    fn cases_of(&self, rfc: &Rfc, requirement: &Requirement) -> BTreeSet<&str> {
        self.cases
            .iter()
            .filter(|(source, _)| {
                split(source).is_some_and(|(number, id)| number == rfc.number && is_of(&id, &requirement.id))
            })
            .flat_map(|(_, cases)| cases.iter().map(String::as_str))
            .collect()
    }

    /// The document, when every case has run.
    pub(crate) fn report(&self, results: &Results, case_count: usize) -> Result<String, String> {
        let results = results.0.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() != case_count {
            return Err(format!(
                "{} of {case_count} cases have run; run all of them for the report",
                results.len()
            ));
        }
        let modes: Vec<_> = Mode::ALL.iter().map(|mode| mode.label()).collect();
        let mut text = format!(
            "# Conformance\n\nWritten by `make conformance` from a run of {case_count} cases in the modes {}. \
             Not edited by hand:\nthe requirements are in tests/conformance/requirements.yaml, the cases in \
             tests/conformance/cases.\n\nA requirement passes when every case that names it passes in every mode.\n\n\
             | RFC | | pass | fail | not applicable |\n| --- | --- | --- | --- | --- |\n",
            modes.join(", ")
        );
        let mut details = String::new();
        for rfc in &self.rfcs {
            let mut counts = [0; 3];
            let _ = writeln!(details, "\n## RFC {}: {}\n", rfc.number, rfc.title);
            for requirement in &rfc.requirements {
                let cases = self.cases_of(rfc, requirement);
                let failing: Vec<&str> = cases
                    .iter()
                    .copied()
                    .filter(|case| results.get(*case).is_none_or(|passed| passed.contains(&false)))
                    .collect();
                let (outcome, why) = outcome(requirement, &failing);
                counts[outcome] += 1;
                entry(&mut details, requirement, (outcome, &why), &cases);
            }
            let [pass, fail, none] = counts;
            let _ = writeln!(text, "| {} | {} | {pass} | {fail} | {none} |", rfc.number, rfc.title);
        }
        Ok(text + &details)
    }
}

const OUTCOMES: [&str; 3] = ["pass", "fail", "not applicable"];

/// The position in [`OUTCOMES`], and why.
fn outcome(requirement: &Requirement, failing: &[&str]) -> (usize, String) {
    match (&requirement.missing, &requirement.not_applicable) {
        _ if !failing.is_empty() => (1, format!("Failing: {}.", failing.join(", "))),
        (Some(missing), _) => (1, missing.clone()),
        (None, Some(reason)) => (2, reason.clone()),
        (None, None) => (0, String::new()),
    }
}

fn entry(
    text: &mut String,
    requirement: &Requirement,
    (outcome, why): (usize, &str),
    cases: &BTreeSet<&str>,
) {
    let Requirement { id, level, text: demand, .. } = requirement;
    let mut words = format!("- **{id}** ({level}): **{}**. {demand}", OUTCOMES[outcome]);
    if !why.is_empty() {
        let _ = write!(words, " {why}");
    }
    if !cases.is_empty() {
        let names: Vec<String> = cases.iter().map(|case| format!("`{case}`")).collect();
        let _ = write!(words, " Cases: {}.", names.join(", "));
    }
    let mut length = 0;
    for word in words.split(' ') {
        if length > 0 && length + 1 + word.len() > LINE_CHARACTERS_MAX {
            text.push_str("\n  ");
            length = 2;
        } else if length > 0 {
            text.push(' ');
            length += 1;
        }
        text.push_str(word);
        length += word.len();
    }
    text.push('\n');
}

/// `RFC 4787 REQ-3` in two.
fn split(source: &str) -> Option<(u32, String)> {
    let (number, id) = source.strip_prefix("RFC ")?.split_once(' ')?;
    Some((number.parse().ok()?, id.to_owned()))
}

/// `REQ-3a` is of `REQ-3`.
fn is_of(named: &str, id: &str) -> bool {
    named == id
        || (id.starts_with("REQ-") && named.trim_end_matches(|last: char| last.is_ascii_lowercase()) == id)
}
