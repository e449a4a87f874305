//! What the demo prints: sections, checks with a tick or a cross, and the verdict.

use std::io::IsTerminal;

/// Width of the description of a check.
const DESCRIPTION_CHARACTERS: usize = 66;

/// Prints and keeps count.
pub(crate) struct Screen {
    colours: bool,
    passed: u32,
    failed: Vec<String>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colours, passed: 0, failed: Vec::new() }
    }

    pub(crate) fn title(&self, text: &str) {
        println!("\n{}", self.paint("1", text));
    }

    pub(crate) fn section(&self, text: &str) {
        println!("\n{}", self.paint("1;36", text));
    }

    pub(crate) fn line(&self, text: &str) {
        println!("  {}", self.paint("0", text));
    }

    /// A command that is being run.
    pub(crate) fn command(&self, text: &str) {
        println!("  {}", self.paint("2", &format!("$ {text}")));
    }

    /// Prints and counts a check; `detail` says what was seen.
    pub(crate) fn check(&mut self, description: &str, passed: bool, detail: &str) {
        let mark = if passed { self.paint("32", "✔") } else { self.paint("1;31", "✘") };
        let padding = " ".repeat(DESCRIPTION_CHARACTERS.saturating_sub(description.chars().count()));
        println!("  {mark} {description}{padding} {detail}");
        if passed {
            self.passed += 1;
        } else {
            self.failed.push(description.to_owned());
        }
    }

    /// Prints text of several lines, such as a table of `edgectl`.
    pub(crate) fn table(&self, text: &str) {
        for line in text.lines() {
            println!("    {}", self.paint("0", line));
        }
    }

    /// Prints the verdict; false when a check failed.
    pub(crate) fn verdict(&self) -> bool {
        println!();
        if self.failed.is_empty() {
            println!("{}", self.paint("1;32", &format!("All {} checks passed.", self.passed)));
            return true;
        }
        let total = self.passed as usize + self.failed.len();
        println!("{}", self.paint("1;31", &format!("{} of {total} checks failed:", self.failed.len())));
        for description in &self.failed {
            println!("  ✘ {description}");
        }
        false
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
