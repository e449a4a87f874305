//! Running programs, in the foreground with their output and in the background with a guard.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::LabError;

/// Runs a program to its end and returns its standard output; any exit status but 0 is an error.
pub fn run(command: &mut Command) -> Result<String, LabError> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(LabError::Failed {
        command: describe(command),
        status: output.status.to_string(),
        output: [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat(),
    })
}

/// Runs a program to its end, whatever its exit status.
pub fn output(command: &mut Command) -> Result<Output, LabError> {
    command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| LabError::Start { command: describe(command), source })
}

/// A command line written as one string of words without quoting.
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The command line as a person would type it.
pub fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// A program in the background with its output in a file; dropping it kills the program.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program, appending its output to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, LabError> {
        let describe_error = || format!("open {}", log.display());
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(LabError::system(describe_error()))?;
        let errors = file.try_clone().map_err(LabError::system(describe_error()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .map_err(|source| LabError::Start { command: describe(command), source })?;
        Ok(Self { child, command: describe(command), log: log.to_owned() })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The exit status, once it ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end of the program; fails when it does not end in time or with an error.
    pub fn finish(&mut self, timeout: Duration) -> Result<String, LabError> {
        let status = self.wait(timeout)?;
        if status.success() {
            return Ok(self.log());
        }
        Err(LabError::Failed {
            command: self.command.clone(),
            status: status.to_string(),
            output: self.log(),
        })
    }

    /// Waits for the end of the program, whatever its status.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, LabError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(LabError::Timeout {
                    what: format!("the end of `{}`", self.command),
                    seconds: timeout.as_secs(),
                    detail: format!("\n{}", self.log()),
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        id.and_then(|id| Ok(kill_process(id, signal)?))
            .map_err(LabError::system(format!("signal `{}`", self.command)))
    }

    /// Kills the program at once (`kill -9`) and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets the program live on without a guard.
    pub fn detach(self) {
        std::mem::forget(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
