//! A look at a broker, drawn.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::reading::{HEAVIEST, HOLDERS, Reading, SLOWEST};
use crate::cli::ctl::Column;

/// Draws `reading`, and below it what went wrong since.
pub(super) fn draw(frame: &mut Frame<'_>, reading: &Reading, trouble: Option<&str>) {
    let head = reading.head();
    let [top, chart, heaviest, slowest, holders, foot] = Layout::vertical([
        Constraint::Length(head.len() as u16),
        Constraint::Length(CHART_LINES),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let mut lines: Vec<Line<'_>> = head.into_iter().map(Line::from).collect();
    if let Some(first) = lines.first_mut() {
        *first = first.clone().style(Style::new().add_modifier(Modifier::BOLD));
    }
    frame.render_widget(Paragraph::new(lines), top);
    draw_chart(frame, reading, chart);
    draw_table(frame, " heaviest clients ", HEAVIEST, reading.heaviest(), heaviest);
    draw_table(frame, " slowest clients ", SLOWEST, reading.slowest(), slowest);
    draw_table(frame, " clients that hold most memory ", HOLDERS, reading.holders(), holders);
    let foot_line = match trouble {
        Some(trouble) => Line::from(trouble.to_owned()).style(Style::new().fg(Color::Red)),
        None => Line::from("q ends").style(Style::new().add_modifier(Modifier::DIM)),
    };
    frame.render_widget(Paragraph::new(foot_line), foot);
}

/// The latest seconds, as many as there are columns.
fn draw_chart(frame: &mut Frame<'_>, reading: &Reading, area: Rect) {
    let messages = reading.messages();
    let skipped = messages.len().saturating_sub(usize::from(area.width));
    let block = Block::bordered().title(" messages a second, in and out ");
    let chart =
        Sparkline::default().block(block).style(Style::new().fg(Color::Cyan)).data(&messages[skipped..]);
    frame.render_widget(chart, area);
}

fn draw_table(frame: &mut Frame<'_>, title: &'static str, columns: &[Column], items: &[Value], area: Rect) {
    let aligned = |column: &Column, cell: String| {
        let alignment = if column.is_right() { Alignment::Right } else { Alignment::Left };
        Cell::from(Text::from(cell).alignment(alignment))
    };
    let row = |item: &Value| Row::new(columns.iter().map(|column| aligned(column, column.cell(item))));
    let heads = Row::new(columns.iter().map(|column| aligned(column, column.head().to_owned())));
    let width = |column: &Column| {
        let cells = items.iter().map(|item| column.cell(item).chars().count());
        let width = cells.chain([column.head().len()]).max().unwrap_or(0);
        Constraint::Max(width.min(CELL_CHARS_MAX) as u16)
    };
    let table = Table::new(items.iter().map(row), columns.iter().map(width))
        .header(heads.style(Style::new().add_modifier(Modifier::BOLD)))
        .column_spacing(2)
        .block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

/// Lines of the chart, its frame included.
const CHART_LINES: u16 = 7;

/// A client id may be as long as it likes; a column may not.
const CELL_CHARS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn drawn(reading: &Reading, width: u16, height: u16, trouble: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, reading, trouble)).unwrap();
        terminal.backend().to_string()
    }

    fn reading() -> Reading {
        let stats = json!({
            "node": "siskin", "version": "1.2.3", "uptime_s": 61, "connections": 1234, "sessions": 2000,
            "open_files": 9, "open_files_max": 100,
        });
        let second =
            json!({ "messages_received": 500.0, "messages_sent": 1000.0, "workers_busy": [0.5, 0.25] });
        let top = json!({
            "heaviest": [{ "client_id": "loud\u{1b}[31m", "address": "10.0.0.1:5", "messages_received": 500.0 }],
            "slowest": [{ "client_id": "slow", "connected": false, "queue_messages": 77, "queue_bytes": 2048 }],
            "holders": [{ "client_id": "fat", "connected": true, "memory_bytes": 3_145_728 }],
        });
        let memory = json!({
            "resident_bytes": 1_048_576, "max_bytes": 4_194_304, "pressure": "short",
            "held": { "queued": 524_288, "retained": 0, "unread": 786_432 },
        });
        Reading::new(stats, vec![second], top, memory)
    }

    #[test]
    fn a_screen_has_the_broker_its_workers_and_the_clients_that_stand_out() {
        let screen = drawn(&reading(), 120, 30, None);
        for text in
            ["siskin, Siskin 1.2.3, up 1 min 1 s", "connections 1,234", "out 1,000/s", "busy 50 % 25 %"]
        {
            assert!(screen.contains(text), "{text} is not in\n{screen}");
        }
        let memory = "memory 1.0 MiB of 4.0 MiB, short   unread 768.0 KiB   queued 512.0 KiB";
        assert!(screen.contains(memory), "{memory} is not in\n{screen}");
        for text in ["loud\\u{1b}[31m", "10.0.0.1:5", "slow", "77", "2.0 KiB", "fat", "3.0 MiB", "q ends"] {
            assert!(screen.contains(text), "{text} is not in\n{screen}");
        }
        assert!(!screen.contains('\u{1b}'));
    }

    #[test]
    fn a_screen_says_what_went_wrong() {
        assert!(drawn(&reading(), 120, 30, Some("cannot ask the broker")).contains("cannot ask the broker"));
    }

    #[test]
    fn any_screen_will_do() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            drawn(&reading(), width, height, None);
        }
    }
}
