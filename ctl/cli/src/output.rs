//! What a command prints: tables for people, JSON and YAML for programs, names for pipes.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, Color, ContentArrangement, Table as Grid, presets};
use serde_json::Value;

use crate::error::CliError;

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns.
    Wide,
    /// What the API answers, as JSON.
    Json,
    /// The same as YAML.
    Yaml,
    /// Names alone, one a line.
    Name,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether standard output gets colours.
    pub(crate) fn enabled(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
                    && io::stdout().is_terminal()
            }
        }
    }
}

/// Prints text as it is. All of standard output goes through here, so that a reader that goes away (`| head`) is
/// an error value and never a panic.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Standard output in the form that the user asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// The form.
    pub format: Format,
    /// Tables have no header line.
    pub no_headers: bool,
    /// Confirmations are left out.
    pub quiet: bool,
    /// Colours are used.
    pub color: bool,
}

impl Output {
    /// Prints a line that confirms what was done, unless the user wants quiet.
    pub(crate) fn confirm(self, line: &str) -> Result<(), CliError> {
        if self.quiet { Ok(()) } else { print(&format!("{line}\n")) }
    }

    /// Prints a value as JSON or YAML; false when the format is none of them.
    pub(crate) fn value(self, value: &Value) -> Result<bool, CliError> {
        match self.format {
            Format::Json => print(&format!("{value:#}\n"))?,
            Format::Yaml => print(&to_yaml(value)?)?,
            Format::Table | Format::Wide | Format::Name => return Ok(false),
        }
        Ok(true)
    }

    /// Prints a table.
    pub(crate) fn table(self, table: &Table) -> Result<(), CliError> {
        print(&table.render(!self.no_headers, self.color))
    }

    /// The user wants the wide form.
    pub(crate) fn wide(self) -> bool {
        self.format == Format::Wide
    }
}

pub(crate) fn to_yaml(value: &Value) -> Result<String, CliError> {
    let mut text = serde_saphyr::to_string(value).map_err(|error| CliError::Usage {
        message: format!("this cannot be written as YAML: {error}"),
        hint: Some("use -o json".to_owned()),
    })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Lines of columns, aligned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles.
    pub(crate) fn new<T: Into<String>>(titles: impl IntoIterator<Item = T>) -> Self {
        Self { titles: titles.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a line. An empty cell is shown as `-`.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(Into::into);
        self.rows
            .push(cells.map(|cell: String| if cell.is_empty() { "-".to_owned() } else { cell }).collect());
    }

    /// The table as text: columns two blanks apart, no blanks at the end of a line.
    pub(crate) fn render(&self, headers: bool, color: bool) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if color {
            grid.enforce_styling();
        } else {
            grid.force_no_tty();
        }
        if headers && !self.titles.is_empty() {
            grid.set_header(self.titles.iter().map(|title| Cell::new(title).fg(Color::DarkGrey)));
        }
        for row in &self.rows {
            grid.add_row(row.iter().map(|cell| match color_of(cell) {
                Some(color) => Cell::new(cell).fg(color),
                None => Cell::new(cell),
            }));
        }
        for column in grid.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let mut text = String::new();
        for line in grid.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// States that a person should see at once.
fn color_of(cell: &str) -> Option<Color> {
    match cell {
        "up" | "Active" | "Ready" | "reachable" | "established" | "ok" => Some(Color::Green),
        "down" | "Error" | "Failed" | "failed" => Some(Color::Red),
        "waiting" | "Waiting" | "Pending" | "resolving" => Some(Color::Yellow),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Table, to_yaml};

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(["NAME", "CIDR", "STATUS"]);
        table.row(["blue", "10.0.0.0/24", "Active"]);
        table.row(["a-longer-name", "", ""]);
        assert_eq!(
            table.render(true, false),
            "NAME           CIDR         STATUS\n\
             blue           10.0.0.0/24  Active\n\
             a-longer-name  -            -\n"
        );
        assert_eq!(
            table.render(false, false),
            "blue           10.0.0.0/24  Active\na-longer-name  -            -\n"
        );
    }

    #[test]
    fn colour_is_escape_codes_only() {
        let mut table = Table::new(["S"]);
        table.row(["Active"]);
        assert!(table.render(true, true).contains('\u{1b}'));
        assert!(!table.render(true, false).contains('\u{1b}'));
    }

    #[test]
    fn yaml_keeps_what_looks_like_something_else_a_text() {
        let value =
            json!({"mac": "02:00:00:00:00:01", "octal": "010", "no": "no", "time": "12:30:45", "n": 7});
        let text = to_yaml(&value).unwrap();
        let back: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
    }
}
