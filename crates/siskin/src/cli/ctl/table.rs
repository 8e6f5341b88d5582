//! Answers as tables for people.

use std::io;

use serde_json::Value;

/// A column of a table: its heading, where its value stands in an item, and how that is shown.
pub(crate) struct Column {
    head: &'static str,
    pointer: &'static str,
    show: fn(&Value) -> String,
    is_right: bool,
}

/// Rows of text, each as wide as it must be.
pub(crate) struct Table {
    rights: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Column {
    /// A text.
    pub(crate) const fn text(head: &'static str, pointer: &'static str) -> Self {
        Self { head, pointer, show: text, is_right: false }
    }

    /// A number.
    pub(crate) const fn number(head: &'static str, pointer: &'static str) -> Self {
        Self { head, pointer, show: number, is_right: true }
    }

    /// A number of bytes.
    pub(crate) const fn bytes(head: &'static str, pointer: &'static str) -> Self {
        Self { head, pointer, show: bytes_of, is_right: true }
    }

    pub(crate) fn head(&self) -> &'static str {
        self.head
    }

    pub(crate) fn is_right(&self) -> bool {
        self.is_right
    }

    /// What stands in this column for `item`.
    pub(crate) fn cell(&self, item: &Value) -> String {
        item.pointer(self.pointer).map_or_else(String::new, self.show)
    }
}

impl Table {
    /// One row for each of `items`, below the headings.
    pub(crate) fn new(columns: &[Column], items: &[Value]) -> Self {
        let heads = columns.iter().map(|column| column.head.to_owned()).collect();
        let mut rows: Vec<Vec<String>> = vec![heads];
        rows.extend(items.iter().map(|item| columns.iter().map(|column| column.cell(item)).collect()));
        Self { rights: columns.iter().map(|column| column.is_right).collect(), rows }
    }

    /// Writes it, two blanks between columns.
    pub(crate) fn print(&self, out: &mut (impl io::Write + ?Sized)) -> io::Result<()> {
        let width = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..self.rights.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), is_right) in row.iter().zip(&widths).zip(&self.rights) {
                let pad = " ".repeat(width - cell.chars().count());
                let (before, after) = if *is_right { (pad.as_str(), "") } else { ("", pad.as_str()) };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Any value as text of one line, with nothing in it that steers a terminal.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// `text` with what steers a terminal in other letters.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| match character.is_control() {
            true => character.escape_default().collect::<Vec<_>>(),
            false => vec![character],
        })
        .collect()
}

/// A number with a sign between thousands.
pub(crate) fn number(value: &Value) -> String {
    if let Some(whole) = value.as_u64() {
        return grouped(whole);
    }
    match value.as_f64() {
        Some(number) if number >= 100.0 => grouped(number.round() as u64),
        Some(number) => format!("{number:.1}"),
        None => text(value),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes_of(value: &Value) -> String {
    value.as_f64().map_or_else(|| text(value), bytes)
}

/// A number of bytes in the largest unit that fits.
pub(crate) fn bytes(bytes: f64) -> String {
    let mut number = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if number < 1024.0 {
            return if unit == "B" { format!("{number:.0} B") } else { format!("{number:.1} {unit}") };
        }
        number /= 1024.0;
    }
    format!("{number:.1} TiB")
}

/// A time in its two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns = [Column::text("NAME", "/name"), Column::number("N", "/n"), Column::text("ON", "/on")];
        let items =
            [json!({"name": "é\n", "n": 1_234_567, "on": true}), json!({"name": "long name", "n": 2.25})];
        let mut out = Vec::new();
        Table::new(&columns, &items).print(&mut out).unwrap();
        let expected = "NAME               N  ON\né\\n        1,234,567  yes\nlong name        2.2\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn sizes_and_times_are_short() {
        let shown: Vec<_> = [0.0, 1023.0, 1536.0, 5e9, 3e12].into_iter().map(bytes).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.5 KiB", "4.7 GiB", "2.7 TiB"]);
        let shown: Vec<_> = [59, 61, 7260, 200_000].into_iter().map(duration).collect();
        assert_eq!(shown, ["59 s", "1 min 1 s", "2 h 1 min", "2 d 7 h"]);
    }
}
