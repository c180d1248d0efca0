//! Turns facts into columns, durations and sizes that people read at a glance. Pure.

use crate::screen::{Paint, Tone};
use std::time::Duration;

/// Text that others wrote, without what a terminal would act on: control characters (C0, DEL, C1) and marks that change the
/// direction of writing are shown as U+FFFD.
pub(crate) fn printable(text: &str) -> String {
    let acts = |c: char| {
        c.is_control() || matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|character| if acts(character) { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

/// One cell of a table.
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

/// A cell in the terminal's own colour.
pub(crate) fn cell(text: impl Into<String>) -> Cell {
    Cell { text: printable(&text.into()), tone: None }
}

/// A cell in the colour of what it means.
pub(crate) fn toned(tone: Tone, text: impl Into<String>) -> Cell {
    Cell { text: printable(&text.into()), tone: Some(tone) }
}

/// Lays rows out in columns, two blanks apart, each row indented by `indent` and cut to `columns`.
pub(crate) fn table(rows: &[Vec<Cell>], indent: usize, columns: usize, paint: Paint) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..count)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| width(&cell.text)).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        let mut used = indent;
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let text = clip(&cell.text, columns.saturating_sub(used));
            let padding = if last { 0 } else { widths[column].saturating_sub(width(&text)) + 2 };
            used += width(&text) + padding;
            line.push_str(&cell.tone.map_or_else(|| text.clone(), |tone| paint.tone(tone, &text)));
            line.push_str(&" ".repeat(padding));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Breaks `text` at blanks into lines of at most `columns`, each behind `indent` blanks.
pub(crate) fn wrap(text: &str, indent: usize, columns: usize) -> String {
    let room = columns.saturating_sub(indent).max(20);
    let mut out = String::new();
    let mut line = String::new();
    for word in text.split_whitespace().map(printable) {
        let word = word.as_str();
        if !line.is_empty() && width(&line) + 1 + width(word) > room {
            out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&format!("{}{line}\n", " ".repeat(indent)));
    out
}

/// Characters, which is columns for everything a node prints.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// `text` cut to `columns`, with an ellipsis if something is gone.
pub(crate) fn clip(text: &str, columns: usize) -> String {
    let text = printable(text);
    if width(&text) <= columns || columns == 0 {
        return text;
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

/// `3 d 4 h`, `4 h 12 min`, `12 min 5 s`, `5.2 s`, `85 ms`: the two largest units that matter.
pub(crate) fn duration(length: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{} ms", length.as_millis()),
        1..MINUTE => format!("{seconds}.{} s", length.subsec_millis() / 100),
        MINUTE..HOUR => format!("{} min {} s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Milliseconds as a duration for people.
pub(crate) fn milliseconds(count: u64) -> String {
    duration(Duration::from_millis(count))
}

/// `512 B`, `20.0 KiB`, `4.2 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_act_on_the_terminal() {
        assert_eq!(printable("a\x1b[31m\u{9b}2J\x7f\u{202e}é☃"), "a\u{FFFD}[31m\u{FFFD}2J\u{FFFD}\u{FFFD}é☃");
        assert_eq!(wrap("x \x1b]0;title\x07", 0, 80), "x \u{FFFD}]0;title\u{FFFD}\n");
    }

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = [
            vec![cell("kv"), toned(Tone::Good, "ready"), cell("12 s")],
            vec![cell("launcher"), toned(Tone::Bad, "stopped"), cell("")],
        ];
        let plain = table(&rows, 2, 80, Paint::Plain);
        assert_eq!(plain, "  kv        ready    12 s\n  launcher  stopped\n");
        let coloured = table(&rows, 2, 80, Paint::Colour);
        assert_eq!(coloured.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", ""), plain);
    }

    #[test]
    fn a_long_last_column_is_cut_at_the_edge() {
        let rows = [vec![cell("kv"), cell("x".repeat(100))]];
        let text = table(&rows, 0, 20, Paint::Plain);
        assert_eq!(text.trim_end().chars().count(), 20);
        assert!(text.trim_end().ends_with('…'));
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        for (ms, text) in [
            (85, "85 ms"),
            (5_250, "5.2 s"),
            (725_000, "12 min 5 s"),
            (15_120_000, "4 h 12 min"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(milliseconds(ms), text);
        }
    }

    #[test]
    fn sizes_have_one_decimal() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (20_480, "20.0 KiB"), (4_404_019, "4.1 MiB"), (1 << 40, "1.0 TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn long_text_is_broken_between_words() {
        assert_eq!(wrap("one two three four five six", 2, 24), "  one two three four\n  five six\n");
    }
}
