//! What a command prints: tables for people, JSON and YAML for programs, names for pipes, and parts of an answer by
//! path.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table as Grid, Width, presets};
use edgestack_client::Kind;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::json_path::{CustomColumn, Template, parse_columns, shown};
use crate::value;

/// The form of the output.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// What a template makes of it.
    JsonPath(Template),
    /// Columns that the user describes.
    CustomColumns(Vec<CustomColumn>),
}

impl Format {
    /// The forms, for the help.
    pub(crate) const FORMS: &'static str =
        "table|wide|json|yaml|name|jsonpath=TEMPLATE|custom-columns=TITLE:PATH,...";

    /// Reads `json`, or `jsonpath={.name}`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("jsonpath", template)) => Ok(Self::JsonPath(Template::parse(template)?)),
            Some(("custom-columns", columns)) => Ok(Self::CustomColumns(parse_columns(columns)?)),
            None if text == "table" => Ok(Self::Table),
            None if text == "wide" => Ok(Self::Wide),
            None if text == "json" => Ok(Self::Json),
            None if text == "yaml" => Ok(Self::Yaml),
            None if text == "name" => Ok(Self::Name),
            _ => Err(format!("one of {}", Self::FORMS)),
        }
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set; elsewhere too where `CLICOLOR_FORCE` is.
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
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto if set("NO_COLOR") => false,
            Self::Auto if set("CLICOLOR_FORCE") => {
                std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0")
                    || Self::is_colour_terminal()
            }
            Self::Auto => Self::is_colour_terminal(),
        }
    }

    fn is_colour_terminal() -> bool {
        std::env::var_os("TERM").is_none_or(|term| term != "dumb") && io::stdout().is_terminal()
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
#[derive(Clone, Debug)]
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
    pub(crate) fn confirm(&self, line: &str) -> Result<(), CliError> {
        if self.quiet { Ok(()) } else { print(&format!("{line}\n")) }
    }

    /// Prints a value where the user wants no table and no names; false when they do.
    pub(crate) fn value(&self, value: &Value) -> Result<bool, CliError> {
        match self.text(value) {
            Some(text) => print(&text?).map(|()| true),
            None => Ok(false),
        }
    }

    /// A value as text where the user wants no table and no names.
    pub(crate) fn text(&self, value: &Value) -> Option<Result<String, CliError>> {
        match &self.format {
            Format::Json => Some(Ok(format!("{value:#}\n"))),
            Format::Yaml => Some(to_yaml(value)),
            Format::JsonPath(template) => Some(Ok(with_newline(template.render(value)))),
            Format::CustomColumns(columns) => {
                let text = self.columns(columns, std::slice::from_ref(value), !self.no_headers);
                Some(Ok(text))
            }
            Format::Table | Format::Wide | Format::Name => None,
        }
    }

    /// Prints one object in any form but the table. Paths begin at the object itself.
    pub(crate) fn object(&self, kind: Kind, object: &Value) -> Result<(), CliError> {
        let text = match &self.format {
            Format::JsonPath(_) | Format::CustomColumns(_) => self.text(object),
            _ => self.text(&json!({ kind.singular(): object })),
        };
        print(&text.unwrap_or_else(|| Ok(value::name(object) + "\n"))?)
    }

    /// Prints objects in any form but the table, under the name that their kind has in the API.
    pub(crate) fn list(&self, plural: &str, objects: &[Value], total: usize) -> Result<(), CliError> {
        match self.list_text(&json!({ plural: objects, "total": total }), plural) {
            Some(text) => print(&text?),
            None => Ok(()),
        }
    }

    /// The list `plural` of an answer as text where the user wants no table and no names.
    pub(crate) fn list_text(&self, body: &Value, plural: &str) -> Option<Result<String, CliError>> {
        match &self.format {
            Format::CustomColumns(columns) => {
                let objects = value::list(body, &format!("/{plural}"));
                Some(Ok(self.columns(columns, objects, !self.no_headers)))
            }
            _ => self.text(body),
        }
    }

    /// A table of the columns that the user describes.
    pub(crate) fn columns(&self, columns: &[CustomColumn], objects: &[Value], headers: bool) -> String {
        let mut table = Table::new(columns.iter().map(|column| column.title.as_str()));
        for object in objects {
            table.row(columns.iter().map(|column| {
                column.path.select(object).into_iter().map(shown).collect::<Vec<_>>().join(",")
            }));
        }
        table.render(headers, self.color)
    }

    /// Prints a table.
    pub(crate) fn table(&self, table: &Table) -> Result<(), CliError> {
        print(&table.render(!self.no_headers, self.color))
    }

    /// The user wants the wide form.
    pub(crate) fn wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// The user wants tables.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide) && !self.quiet
    }

    /// The user wants names alone of a list.
    pub(crate) fn is_names(&self) -> bool {
        self.is_name() || (self.quiet && !self.is_structured())
    }

    /// The user asked for names.
    pub(crate) fn is_name(&self) -> bool {
        self.format == Format::Name
    }

    /// The user wants what the API answers, or parts of it.
    pub(crate) fn is_structured(&self) -> bool {
        !matches!(self.format, Format::Table | Format::Wide | Format::Name)
    }
}

fn with_newline(mut text: String) -> String {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
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
    /// Least widths of the columns.
    widths: Vec<u16>,
}

impl Table {
    /// A table with these column titles.
    pub(crate) fn new<T: Into<String>>(titles: impl IntoIterator<Item = T>) -> Self {
        Self { titles: titles.into_iter().map(Into::into).collect(), rows: Vec::new(), widths: Vec::new() }
    }

    /// Adds a line. An empty cell is shown as `-`.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(Into::into);
        self.rows
            .push(cells.map(|cell: String| if cell.is_empty() { "-".to_owned() } else { cell }).collect());
    }

    /// How wide the columns are, titles included, and at least `least`.
    pub(crate) fn widths(&self, least: &[u16]) -> Vec<u16> {
        let rows = std::iter::once(&self.titles).chain(&self.rows);
        let mut widths = least.to_vec();
        for row in rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(u16::try_from(cell.chars().count()).unwrap_or(u16::MAX));
            }
        }
        widths
    }

    /// The same table with columns that are at least so wide.
    pub(crate) fn with_widths(mut self, widths: &[u16]) -> Self {
        self.widths = widths.to_vec();
        self
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
        for (index, column) in grid.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if let Some(width) = self.widths.get(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width + 2)));
            }
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

    use super::{Format, Table, to_yaml};

    #[test]
    fn forms_are_read() {
        for word in ["table", "wide", "json", "yaml", "name"] {
            assert!(Format::parse(word).is_ok(), "{word}");
        }
        assert!(matches!(Format::parse("jsonpath={.name}"), Ok(Format::JsonPath(_))));
        assert!(matches!(Format::parse("custom-columns=A:.a"), Ok(Format::CustomColumns(_))));
        assert!(Format::parse("xml").unwrap_err().contains("jsonpath"));
        assert!(Format::parse("jsonpath={.a").unwrap_err().contains("not closed"));
    }

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
