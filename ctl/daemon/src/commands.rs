//! Commands beside running the daemon: a backup of its store, and a store from a backup.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use edgestack_client::{Client, Method};
use edgestackd::backups::{self, CommandError};
use edgestackd::config::Config;
use edgestackd::store::StoreError;
use edgestackd::store::backup;

/// Path of the API's objects.
const OBJECTS: &str = "/edgetron/resources/kubevirt";
/// How long one request waits for the end of the backup.
const WAIT_SECONDS: u32 = 20;

/// Writes a backup, and says so.
pub(crate) fn back_up(config: &Config, output: &Path) -> Result<String, Box<dyn Error>> {
    let header = match backups::back_up(&config.store_path(), output) {
        Err(CommandError::Store(StoreError::InUse { .. })) => back_up_running(config, output)?,
        result => result?,
    };
    Ok(format!("{}: {} entries at revision {}", output.display(), header.entries, header.revision))
}

/// Makes the store from a backup, and says so.
pub(crate) fn restore(config: &Config, input: &Path, replace: bool) -> Result<String, Box<dyn Error>> {
    std::fs::create_dir_all(&config.state_dir)?;
    let store = config.store_path();
    let (header, aside) = backups::restore(&store, input, replace)?;
    let aside =
        aside.map_or_else(String::new, |aside| format!("the store before is at {}\n", aside.display()));
    Ok(format!("{aside}{}: {} entries of {}", store.display(), header.entries, header.created_at))
}

/// Has the running daemon write a backup, and fetches it.
fn back_up_running(config: &Config, output: &Path) -> Result<backup::Header, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::new(config.socket_path());
        let begun = client.request(Method::POST, &format!("{OBJECTS}/backups"), None).await?.body;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let operation = format!("{OBJECTS}/operations/{}?wait={WAIT_SECONDS}", text(&begun["id"]));
        let mut state = begun["operation"].clone();
        while state["phase"] == "Running" {
            state = client.request(Method::GET, &operation, None).await?.body["operation"].take();
        }
        if state["phase"] != "Succeeded" {
            return Err(
                format!("the backup ended as {}: {}", state["phase"], state["error"]["detail"]).into()
            );
        }
        let path = format!("{OBJECTS}/backups/{}", text(&state["target"]));
        let fetched = fetch(&client, &path, output).await;
        client.request(Method::DELETE, &path, None).await?;
        fetched
    })
}

async fn fetch(client: &Client, path: &str, output: &Path) -> Result<backup::Header, Box<dyn Error>> {
    let partial = output.with_extension("partial");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    let mut body = client.stream(path).await?;
    while let Some(piece) = body.next().await? {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    // What came over is checked before it is called a backup.
    let header = backup::read(&partial)?.header;
    std::fs::rename(&partial, output)?;
    Ok(header)
}
