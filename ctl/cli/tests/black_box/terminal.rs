//! A program on a terminal of its own, with somebody who types.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long the program may take until it shows something, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// The terminal; the program ends with it.
pub(crate) struct Terminal {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: Arc<Screen>,
    /// Bytes of the screen that were looked at.
    seen: usize,
}

/// What the program has shown, and whether it has ended.
#[derive(Default)]
struct Screen {
    shown: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Terminal {
    /// Starts what a shell does with `line`; `prepare` sets its environment.
    pub(crate) fn start(line: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        // script(1) makes the terminal.
        let mut command = Command::new("script");
        command.args(["-qfec", &format!("stty rows 40 cols 200; exec {line}"), "/dev/null"]);
        command.env("TERM", "xterm-256color").stdin(Stdio::piped()).stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let screen = Arc::new(Screen::default());
        let (shown, mut output) = (Arc::clone(&screen), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                let count = output.read(&mut bytes).unwrap_or_default();
                let mut state = shown.shown.lock().unwrap();
                state.0.extend_from_slice(&bytes[..count]);
                state.1 = count == 0;
                shown.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        let keyboard = child.stdin.take();
        Self { child, keyboard, screen, seen: 0 }
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).and_then(|()| keyboard.flush()).unwrap();
    }

    /// Waits until the program shows this, behind what it was seen to show before.
    #[track_caller]
    pub(crate) fn shows(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.screen.shown.lock().unwrap();
        loop {
            let news = &state.0[self.seen..];
            if let Some(place) = news.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
                self.seen += place + wanted.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let all = || String::from_utf8_lossy(&state.0).into_owned();
            assert!(!state.1 && !left.is_zero(), "`{wanted}` is not shown: {:?}", all());
            state = self.screen.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for the end; the exit code.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.screen.shown.lock().unwrap();
        while !state.1 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not end: {:?}", String::from_utf8_lossy(&state.0));
            state = self.screen.changed.wait_timeout(state, left).unwrap().0;
        }
        drop(state);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // script(1) ends with its input, and the program with its terminal.
        self.keyboard = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
