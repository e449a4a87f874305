//! `edgectl top`: ports, flows and drops, live. It asks the daemon once a second ([`sample`]), and draws what it says
//! ([`screen`]); it changes nothing.

mod sample;
mod screen;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::command::Action;
use crate::connection::place;
use crate::error::CliError;
use crate::session::Session;
use sample::{Sample, View};
use screen::{Order, Screen, Tab};

/// Keys that wait to be seen.
const KEYS_MAX: usize = 64;
/// Lines of a page.
const PAGE_LINES: usize = 10;

/// Arguments of top.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: 1 ports, 2 flows, 3 drops, Tab the next; s other order; arrows and Page keys move; p pauses; q quits.")]
pub(crate) struct TopArgs {
    /// How often it looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = parse_interval)]
    pub interval: Duration,
    /// Print the ports once, with their rates, and end
    #[arg(long)]
    pub once: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("from 0.1 to 3600".to_owned())
    }
}

impl Action for TopArgs {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        // The first look is also the proof that there is a dataplane to look at.
        let first = Sample::take(session).await?;
        if self.once {
            tokio::time::sleep(self.interval).await;
            let view = View::between(&first, &Sample::take(session).await?);
            return session.output.table(&screen::ports_table(&view));
        }
        if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return Err(CliError::usage("top needs a terminal", "edgectl top --once prints the ports once"));
        }
        // Puts the terminal back also when something panics.
        let mut terminal = ratatui::try_init()?;
        let ended = live(session, &mut terminal, self.interval, first).await;
        ratatui::try_restore()?;
        ended
    }
}

async fn live(
    session: &Session,
    terminal: &mut DefaultTerminal,
    interval: Duration,
    first: Sample,
) -> Result<(), CliError> {
    let mut keys = keys();
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let mut screen = Screen::new(place(&session.client), View::between(&first, &first));
    let mut last = first;
    loop {
        terminal.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(Event::Key(key)) if key.kind == KeyEventKind::Press => {
                    if !pressed(&mut screen, key) {
                        return Ok(());
                    }
                }
                // A resize is drawn anew, like everything else.
                Some(_) => {}
                None => return Ok(()),
            },
            _ = tick.tick(), if !screen.is_paused => match Sample::take(session).await {
                Ok(sample) => {
                    screen.set_view(View::between(&last, &sample));
                    last = sample;
                }
                Err(error) => screen.trouble = Some(error.to_string()),
            },
        }
    }
}

/// Keys as they are pressed. The thread ends with the process: a read of the terminal cannot be taken back.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Does what a key says; false to quit.
fn pressed(screen: &mut Screen, key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('1') => screen.show(Tab::Ports),
        KeyCode::Char('2') => screen.show(Tab::Flows),
        KeyCode::Char('3') => screen.show(Tab::Drops),
        KeyCode::Tab => screen.show(screen.tab.next()),
        KeyCode::Char('s') => screen.order(match screen.order {
            Order::Rate => Order::Name,
            Order::Name => Order::Drops,
            Order::Drops => Order::Rate,
        }),
        KeyCode::Char('p' | ' ') => screen.is_paused = !screen.is_paused,
        KeyCode::Up | KeyCode::Char('k') => screen.go_up(1),
        KeyCode::Down | KeyCode::Char('j') => screen.go_down(1),
        KeyCode::PageUp => screen.go_up(PAGE_LINES),
        KeyCode::PageDown => screen.go_down(PAGE_LINES),
        KeyCode::Home => screen.go_up(usize::MAX),
        KeyCode::End => screen.go_down(usize::MAX),
        _ => {}
    }
    true
}
