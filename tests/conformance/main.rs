//! Runs the conformance cases: packets in, packets out, each case in several modes that must all agree.
//!
//! Every file below `cases/` is a test for each mode of [`mode::Mode`]; `cargo test -p edgestack-tests --test
//! conformance -- snat` runs those whose name has `snat` in it. Needs neither root nor the network, but for the
//! modes of the kernel programs (feature `root`).

mod case;
mod compare;
#[cfg(feature = "root")]
mod differential;
mod matrix;
mod memory;
mod mode;
mod notation;
mod run;
mod site;
#[cfg(feature = "root")]
mod tier0;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::matrix::{Matrix, Results};
use crate::mode::Mode;

/// Names the file that the table of requirements is written to after a run of all cases.
const REPORT_VARIABLE: &str = "EDGESTACK_CONFORMANCE_REPORT";

/// Fewest cases that the suite is known to have; fewer means that files are not found.
const CASES_MIN: usize = 400;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let topologies = root.join("topologies");
    let mut files = Vec::new();
    find_cases(&root.join("cases"), &mut files);
    files.sort();
    let mut trials = vec![Trial::test("cases_are_found", {
        let count = files.len();
        move || if count >= CASES_MIN { Ok(()) } else { Err(format!("only {count} cases").into()) }
    })];
    let files: Vec<(String, PathBuf)> = files.into_iter().map(|file| (name_of(&file), file)).collect();
    let matrix = match Matrix::load(&root, &files) {
        Ok(matrix) => matrix,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    let checked = matrix.check();
    trials
        .push(Trial::test("every_requirement_has_a_case_or_a_reason", move || checked.map_err(Failed::from)));
    #[cfg(feature = "root")]
    for mode in [Mode::Xdp, Mode::Tc] {
        let root = root.clone();
        let trial = Trial::test("differential", move || {
            let summary = differential::run(&root, mode).map_err(Failed::from)?;
            println!("differential over {}: {summary:?}", mode.label());
            Ok(())
        });
        trials.push(trial.with_kind(mode.label()));
    }
    let results = Arc::new(Results::default());
    for (name, file) in &files {
        for mode in Mode::ALL {
            let (name, file, topologies) = (name.clone(), file.clone(), topologies.clone());
            let results = Arc::clone(&results);
            let trial = Trial::test(name.clone(), move || {
                let outcome = run::run(&file, &topologies, *mode);
                results.note(&name, outcome.is_ok());
                outcome.map_err(Failed::from)
            });
            trials.push(trial.with_kind(mode.label()));
        }
    }
    let code = libtest_mimic::run(&arguments, trials).exit_code();
    match std::env::var_os(REPORT_VARIABLE)
        .map(|path| write(&matrix, &results, files.len(), Path::new(&path)))
    {
        Some(Err(problem)) => {
            eprintln!("{REPORT_VARIABLE}: {problem}");
            ExitCode::FAILURE
        }
        _ => code,
    }
}

/// Writes the table of requirements.
fn write(matrix: &Matrix, results: &Results, case_count: usize, path: &Path) -> Result<(), String> {
    let report = matrix.report(results, case_count)?;
    std::fs::write(path, report).map_err(|error| format!("{}: {error}", path.display()))
}

/// `snat/udp`.
fn name_of(file: &Path) -> String {
    let area = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    format!("{area}/{}", file.file_stem().unwrap_or_default().to_string_lossy())
}

fn find_cases(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).map(|entries| entries.flatten().collect::<Vec<_>>());
    for entry in entries.unwrap_or_default() {
        let path = entry.path();
        if path.is_dir() {
            find_cases(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
}
