//! Runs the conformance cases: packets in, packets out, each case in several modes that must all agree.
//!
//! Every file below `cases/` is a test for each mode of [`mode::Mode`]; `cargo test -p edgestack-tests --test
//! conformance -- snat` runs those whose name has `snat` in it. Needs neither root nor the network, but for the
//! modes of the kernel programs (feature `root`).

mod case;
mod compare;
mod memory;
mod mode;
mod notation;
mod run;
mod site;
#[cfg(feature = "root")]
mod tier0;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::mode::Mode;

/// Fewest cases that the suite is known to have; fewer means that files are not found.
const CASES_MIN: usize = 40;

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
    for file in files {
        for mode in Mode::ALL {
            let area = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            let name = format!("{area}/{stem}");
            let (file, topologies, mode) = (file.clone(), topologies.clone(), *mode);
            trials.push(
                Trial::test(name, move || run::run(&file, &topologies, mode).map_err(Failed::from))
                    .with_kind(mode.label()),
            );
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
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
