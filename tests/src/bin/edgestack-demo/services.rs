//! The servers of the demo's site: web servers that say who they are, and iperf3. Each is a process of its own, so that
//! they stay when the demo leaves the site up.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use edgestack_tests::site::{INTERNET, SERVER_IP, Site};
use edgestack_tests::traffic::{http, iperf};
use edgestack_tests::{LabError, Process, wait};

/// Where web servers listen: the port that everybody may use, one that nobody may until a rule says so, and the
/// databases'.
const SERVERS: [(&str, u16); 9] = [
    ("red-web1", 80),
    ("red-web1", 8080),
    ("red-web2", 80),
    ("red-db", 80),
    ("red-db", 5432),
    ("blue-web1", 80),
    ("blue-web2", 80),
    ("blue-db", 5432),
    (INTERNET, 80),
];

/// Starts every server of the site.
pub(crate) fn start(site: &Site) -> Result<Vec<Process>, LabError> {
    let own = std::env::current_exe().map_err(LabError::system("find the demo's own program"))?;
    let mut processes = Vec::new();
    for (name, port) in SERVERS {
        let log = site.directory().join(format!("{name}-{port}.log"));
        let mut command = Command::new(&own);
        command.args(["serve", name]).arg(port.to_string());
        processes.push(site.member(name).enter(|| Process::start(&mut command, &log))??);
    }
    for (name, address) in [(INTERNET, SERVER_IP), ("red-web1", "10.0.1.11")] {
        processes.push(iperf::server(site.member(name), address, site.directory())?);
    }
    for (name, port) in SERVERS {
        wait::until("the web servers to listen", Duration::from_secs(5), || {
            matches!(http::fetch(site.member(name), &format!("127.0.0.1:{port}")), Ok(Some(_)))
        })?;
    }
    Ok(processes)
}

/// Serves until killed.
pub(crate) fn serve(name: &str, port: &str, stop: &AtomicBool) -> Result<(), LabError> {
    let port: u16 = port
        .parse()
        .map_err(|_| LabError::Unexpected { what: "serve".to_owned(), output: format!("port {port}") })?;
    let listener =
        TcpListener::bind(("0.0.0.0", port)).map_err(LabError::system(format!("listen on port {port}")))?;
    http::serve(&listener, name, stop);
    Ok(())
}

/// On Ctrl-C and SIGTERM, removes the site and ends.
pub(crate) fn remove_on_interrupt() {
    let Ok(mut signals) = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM]) else { return };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("\ninterrupted: removing the site");
            // What could not be removed, `edgestack-demo down` removes.
            let _ = crate::remove_leftovers();
            std::process::exit(130);
        }
    });
}
