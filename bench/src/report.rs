//! Tables in Markdown, which a terminal shows well enough too, and medians.
//!
//! Read [`Table`].

use std::fmt::Write as _;

/// A table under construction.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    #[must_use]
    pub fn new(columns: &[&str]) -> Table {
        Table { rows: vec![columns.iter().map(|column| (*column).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as Markdown, with columns of even width.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let cell = |row: &[String], index: usize| row.get(index).cloned().unwrap_or_default();
        let width_of = |index| {
            let widths = self.rows.iter().map(|row| cell(row, index).chars().count());
            widths.max().unwrap_or_default().max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (index, width) in widths.iter().enumerate() {
                // Writing to a String does not fail.
                let _ = write!(text, "| {:<width$} ", cell(row, index));
            }
            text.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(text, "|{}", "-".repeat(width + 2));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

/// The middle one, or the mean of the two in the middle; `None` of none.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((upper + sorted.get(middle.checked_sub(1)?)?) / 2.0)
}

/// A number with as many decimals as are worth reading.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => thousands(value),
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The median as text, or a dash where there is none.
#[must_use]
pub fn median_text(values: &[f64]) -> String {
    median(values).map_or_else(|| DASH.to_owned(), number)
}

/// All values, in the order of the rounds.
#[must_use]
pub fn rounds_text(values: &[f64]) -> String {
    values.iter().map(|value| number(*value)).collect::<Vec<_>>().join(" · ")
}

/// A whole number with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// Where there is no value.
pub const DASH: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn numbers_are_as_exact_as_is_worth_reading() {
        let cases = [
            (0.0, "0.00"),
            (1.234, "1.23"),
            (-12.34, "-12.3"),
            (234.5, "234"),
            (1234.4, "1,234"),
            (-1_234_567.0, "-1,234,567"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(&["", "ratio"]);
        table.row(vec!["floor".to_owned(), "1.00".to_owned()]);
        assert_eq!(
            table.to_markdown(),
            "|       | ratio |\n|-------|-------|\n| floor | 1.00  |\n"
        );
    }
}
