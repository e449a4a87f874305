//! `make demo`: a whole site in network namespaces, built, used, checked and removed.
//!
//! `edgestack-demo run` does it all and exits with 1 when a check failed; `up` leaves the site up and prints what to
//! try; `down` removes what `up`, or a `run` that was killed, left behind. Everything carries the prefix
//! `edge-demo`; nothing else of the machine is touched.

mod checks;
mod functions;
mod life;
mod screen;
mod services;
mod story;

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use edgestack_tests::{LabError, daemon, namespace};

use crate::screen::Screen;

/// In front of the names of all that the demo makes.
const PREFIX: &str = "edge-demo";

const USAGE: &str = "usage: edgestack-demo run | up | down";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["run"] => run(),
        ["up"] => up().map(|()| true),
        ["down"] => down().map(|()| true),
        // Not for people: one web server of the site, in the namespace that it was started in.
        ["serve", name, port] => services::serve(name, port, &AtomicBool::new(false)).map(|()| true),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("\nThe demo could not go on: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds, uses and removes the site; false when a check failed.
fn run() -> Result<bool, LabError> {
    remove_leftovers()?;
    services::remove_on_interrupt();
    let mut screen = Screen::new();
    screen.title("EdgeStack: one edge host, two tenants with the same addresses");
    let mut demo = story::build(&mut screen)?;
    checks::all(&mut demo, &mut screen)?;
    drop(demo);
    let left = namespace::list(PREFIX);
    screen.check(
        "the site is gone: no namespace, process or pin is left",
        left.is_empty() && !has_pins(),
        "",
    );
    Ok(screen.verdict())
}

fn up() -> Result<(), LabError> {
    remove_leftovers()?;
    let mut screen = Screen::new();
    screen.title("EdgeStack: one edge host, two tenants with the same addresses");
    let mut demo = story::build(&mut screen)?;
    demo.keep();
    story::print_things_to_try(&demo);
    Ok(())
}

fn down() -> Result<(), LabError> {
    remove_leftovers()?;
    println!("The demo's site is gone.");
    Ok(())
}

/// Removes everything of the demo that is there, found by its name.
fn remove_leftovers() -> Result<(), LabError> {
    for name in namespace::list(PREFIX) {
        namespace::remove(&name)?;
    }
    daemon::remove_pins(PREFIX);
    let directory = std::env::temp_dir().join(PREFIX);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .map_err(LabError::system(format!("remove {}", directory.display())))?;
    }
    Ok(())
}

fn has_pins() -> bool {
    daemon::pin_directories().iter().any(|directory| directory.join(PREFIX).exists())
}
