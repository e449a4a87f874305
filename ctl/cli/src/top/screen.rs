//! The screen of `top`: drawn from a view, whatever the size of the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table as Grid, TableState};

use super::sample::{DropRate, FlowRate, PortRate, View};
use crate::output::Table;
use crate::value::count;

/// Titles and widths of the columns, 80 characters together.
const PORT_COLUMNS: [(&str, Constraint); 8] = [
    ("PORT", Constraint::Fill(1)),
    ("STATE", Constraint::Length(7)),
    ("RX/s", Constraint::Length(7)),
    ("RX", Constraint::Length(9)),
    ("TX/s", Constraint::Length(7)),
    ("TX", Constraint::Length(9)),
    ("TIER0", Constraint::Length(6)),
    ("DROP/s", Constraint::Length(7)),
];
const FLOW_COLUMNS: [(&str, Constraint); 6] = [
    ("PROTO", Constraint::Length(6)),
    ("FROM", Constraint::Fill(1)),
    ("TO", Constraint::Fill(1)),
    ("OUT", Constraint::Length(10)),
    ("PKT/s", Constraint::Length(7)),
    ("RATE", Constraint::Length(9)),
];
const DROP_COLUMNS: [(&str, Constraint); 4] = [
    ("REASON", Constraint::Fill(1)),
    ("STAGE", Constraint::Length(18)),
    ("DROP/s", Constraint::Length(9)),
    ("TOTAL", Constraint::Length(9)),
];

/// What the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Ports,
    Flows,
    Drops,
}

impl Tab {
    /// The one to the right.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Ports => Self::Flows,
            Self::Flows => Self::Drops,
            Self::Drops => Self::Ports,
        }
    }
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rate,
    Name,
    Drops,
}

/// What is on the screen.
pub(super) struct Screen {
    pub tab: Tab,
    pub order: Order,
    pub is_paused: bool,
    /// Why the last look failed.
    pub trouble: Option<String>,
    place: String,
    view: View,
    selected: usize,
}

impl Screen {
    pub(super) fn new(place: String, view: View) -> Self {
        let mut screen = Self {
            tab: Tab::Ports,
            order: Order::Rate,
            is_paused: false,
            trouble: None,
            place,
            view: View::default(),
            selected: 0,
        };
        screen.set_view(view);
        screen
    }

    /// Shows what was seen last.
    pub(super) fn set_view(&mut self, view: View) {
        self.view = view;
        self.trouble = None;
        self.sort();
    }

    pub(super) fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.selected = 0;
    }

    pub(super) fn order(&mut self, order: Order) {
        self.order = order;
        self.sort();
    }

    pub(super) fn go_up(&mut self, lines: usize) {
        self.selected = self.selected.saturating_sub(lines);
    }

    pub(super) fn go_down(&mut self, lines: usize) {
        self.selected = self.selected.saturating_add(lines).min(self.length().saturating_sub(1));
    }

    fn length(&self) -> usize {
        match self.tab {
            Tab::Ports => self.view.ports.len(),
            Tab::Flows => self.view.flows.len(),
            Tab::Drops => self.view.drops.len(),
        }
    }

    fn sort(&mut self) {
        let View { ports, flows, drops, .. } = &mut self.view;
        match self.order {
            Order::Rate => {
                let worth = |port: &PortRate| port.received_bits + port.sent_bits;
                ports.sort_by(|one, other| worth(other).total_cmp(&worth(one)));
                flows.sort_by(|one, other| other.bits.total_cmp(&one.bits));
                drops.sort_by(|one, other| {
                    other.rate.total_cmp(&one.rate).then(other.packets.cmp(&one.packets))
                });
            }
            Order::Name => {
                ports.sort_by(|one, other| one.name.cmp(&other.name));
                flows.sort_by(|one, other| (&one.in_port, &one.source).cmp(&(&other.in_port, &other.source)));
                drops.sort_by(|one, other| one.reason.cmp(&other.reason));
            }
            Order::Drops => {
                ports.sort_by(|one, other| other.dropped.total_cmp(&one.dropped));
                flows.sort_by(|one, other| other.packets.total_cmp(&one.packets));
                drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
            }
        }
        self.selected = self.selected.min(self.length().saturating_sub(1));
    }

    /// Draws everything.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let areas = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ]);
        let [head, totals, tabs, body, foot] = areas.areas(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let state = if self.is_paused { "  PAUSED" } else { "" };
        frame.render_widget(Line::styled(format!("edgectl top  {}{state}", self.place), bold), head);
        frame.render_widget(Paragraph::new(self.totals()), totals);
        frame.render_widget(self.tabs(), tabs);
        let mut at = TableState::new().with_selected((self.length() > 0).then_some(self.selected));
        frame.render_stateful_widget(self.table(), body, &mut at);
        let keys = "1 ports  2 flows  3 drops  s order  ↑↓ move  p pause  q quit";
        let foot_line = match &self.trouble {
            Some(trouble) => Line::styled(trouble.as_str(), Style::new().fg(Color::Red)),
            None => Line::styled(keys, Style::new().fg(Color::DarkGray)),
        };
        frame.render_widget(foot_line, foot);
    }

    fn totals(&self) -> String {
        let view = &self.view;
        let share = percent(view.tier0_percent);
        format!(
            "{}/s packets, tier 0 {share}   {}/s drops   {} of {} sessions",
            count(view.packets as u64),
            count(view.dropped as u64),
            count(view.sessions),
            count(view.sessions_max)
        )
    }

    fn tabs(&self) -> Line<'static> {
        let tab = |tab: Tab, text: String| {
            let style = Style::new().add_modifier(Modifier::REVERSED);
            if self.tab == tab { Span::styled(text, style) } else { Span::raw(text) }
        };
        let order = match self.order {
            Order::Rate => "by rate",
            Order::Name => "by name",
            Order::Drops => "by drops",
        };
        Line::from(vec![
            tab(Tab::Ports, format!(" ports {} ", self.view.ports.len())),
            Span::raw(" "),
            tab(Tab::Flows, format!(" flows {} ", self.view.flows.len())),
            Span::raw(" "),
            tab(Tab::Drops, format!(" drops {} ", self.view.drops.len())),
            Span::styled(format!("   {order}"), Style::new().fg(Color::DarkGray)),
        ])
    }

    fn table(&self) -> Grid<'static> {
        let (columns, rows): (&[(&'static str, Constraint)], Vec<Row<'static>>) = match self.tab {
            Tab::Ports => (&PORT_COLUMNS, self.view.ports.iter().map(|port| row(port_cells(port))).collect()),
            Tab::Flows => (&FLOW_COLUMNS, self.view.flows.iter().map(|flow| row(flow_cells(flow))).collect()),
            Tab::Drops => (&DROP_COLUMNS, self.view.drops.iter().map(|drop| row(drop_cells(drop))).collect()),
        };
        let titles =
            Row::new(columns.iter().map(|(title, _)| *title)).style(Style::new().fg(Color::DarkGray));
        Grid::new(rows, columns.iter().map(|(_, width)| *width))
            .header(titles)
            .column_spacing(1)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
    }
}

/// The ports as a table for standard output.
pub(super) fn ports_table(view: &View) -> Table {
    let mut table = Table::new(PORT_COLUMNS.map(|(title, _)| title));
    for port in &view.ports {
        table.row(port_cells(port));
    }
    table
}

fn row<const N: usize>(cells: [String; N]) -> Row<'static> {
    let coloured = |cell: String| match cell.as_str() {
        "up" => Cell::from(cell).style(Style::new().fg(Color::Green)),
        "down" => Cell::from(cell).style(Style::new().fg(Color::Red)),
        "waiting" => Cell::from(cell).style(Style::new().fg(Color::Yellow)),
        _ => Cell::from(cell),
    };
    Row::new(cells.map(coloured))
}

fn port_cells(port: &PortRate) -> [String; 8] {
    [
        port.name.clone(),
        port.state.clone(),
        count(port.received as u64),
        bits(port.received_bits),
        count(port.sent as u64),
        bits(port.sent_bits),
        percent(port.tier0_percent),
        count(port.dropped as u64),
    ]
}

fn flow_cells(flow: &FlowRate) -> [String; 6] {
    [
        flow.protocol.clone(),
        format!("{} {}", flow.in_port, flow.source),
        flow.destination.clone(),
        flow.out_port.clone(),
        count(flow.packets as u64),
        bits(flow.bits),
    ]
}

fn drop_cells(drop: &DropRate) -> [String; 4] {
    [drop.reason.clone(), drop.stage.clone(), count(drop.rate as u64), count(drop.packets)]
}

/// `12.3Mb/s`.
fn bits(rate: f64) -> String {
    format!("{}b/s", count(rate as u64))
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{share:.0}%"))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::sample::{DropRate, FlowRate, PortRate, View};
    use super::{Order, Screen, Tab};

    fn view() -> View {
        let port = |name: &str, received_bits: f64, dropped: f64| PortRate {
            name: name.to_owned(),
            state: "up".to_owned(),
            received: 1500.0,
            received_bits,
            tier0_percent: Some(98.0),
            dropped,
            ..PortRate::default()
        };
        View {
            ports: vec![port("quiet", 10.0, 9.0), port("busy", 12_300_000.0, 0.0)],
            flows: vec![FlowRate {
                protocol: "tcp".to_owned(),
                in_port: "web-1".to_owned(),
                source: "10.0.1.11:43210".to_owned(),
                destination: "203.0.113.77:443".to_owned(),
                out_port: "wan".to_owned(),
                packets: 10.0,
                bits: 1e6,
            }],
            drops: vec![DropRate {
                reason: "firewall_ingress".to_owned(),
                stage: "firewall_ingress".to_owned(),
                rate: 3.0,
                packets: 12_000,
            }],
            packets: 2e6,
            tier0_percent: Some(97.0),
            dropped: 3.0,
            sessions: 300,
            sessions_max: 1_048_576,
        }
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |row: u16| {
            let cells = (0..width).map(|column| buffer[(column, row)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    #[test]
    fn it_fits_80_by_24() {
        let mut screen = Screen::new("/run/edgestack/edgestackd.sock".to_owned(), view());
        let lines = drawn(&screen, 80, 24);
        assert_eq!(lines[1], "2.00M/s packets, tier 0 97%   3/s drops   300 of 1.05M sessions");
        assert_eq!(lines[2], " ports 2   flows 1   drops 1    by rate");
        assert!(lines[3].starts_with("PORT") && lines[3].ends_with("DROP/s"), "{}", lines[3]);
        assert!(lines[4].starts_with("busy") && lines[4].contains("12.3Mb/s"), "{}", lines[4]);
        assert!(lines[23].ends_with("q quit"), "{}", lines[23]);
        screen.show(Tab::Flows);
        let flow = &drawn(&screen, 80, 24)[4];
        for part in ["web-1 10.0.1.11:43210", "203.0.113.77:443", "wan", "1.00Mb/s"] {
            assert!(flow.contains(part), "{part} is not in {flow}");
        }
        screen.show(Tab::Drops);
        assert!(drawn(&screen, 80, 24)[4].contains("12.0k"));
    }

    #[test]
    fn a_tiny_terminal_is_no_failure() {
        let screen = Screen::new("x".to_owned(), view());
        for (width, height) in [(1, 1), (20, 3), (200, 60)] {
            drawn(&screen, width, height);
        }
        drawn(&Screen::new(String::new(), View::default()), 80, 24);
    }

    #[test]
    fn the_order_changes_and_the_selection_stays_in_the_list() {
        let mut screen = Screen::new(String::new(), view());
        screen.go_down(usize::MAX);
        assert_eq!(screen.selected, 1);
        screen.order(Order::Drops);
        assert_eq!(screen.view.ports[0].name, "quiet");
        screen.order(Order::Name);
        assert_eq!(screen.view.ports[0].name, "busy");
        screen.set_view(View::default());
        assert_eq!(screen.selected, 0);
        screen.go_up(usize::MAX);
        screen.go_down(1);
        assert_eq!(screen.selected, 0);
    }
}
