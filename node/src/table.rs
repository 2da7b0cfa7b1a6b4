//! Tables for terminals: cells below their heads, as wide as they need to be.

/// A line of heads, and a line for each row; no line ends with spaces. What a cell holds that would
/// break its line, or tell a terminal something, is shown as `?`.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A text that a stranger may have written, for a line on a terminal.
pub(crate) fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() || is_format(c) { '?' } else { c };
    text.chars().map(harmless).collect()
}

/// Characters that turn or hide what stands around them.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// A time as people read it: `2026-11-30 22:17:05` in UTC; empty for none.
pub(crate) fn time(unix_ms: Option<u64>) -> String {
    let Some(ms) = unix_ms else { return String::new() };
    let (days, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar: the year is
/// taken to begin in March, so that the leap day is its last (H. Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_their_heads_and_nothing_escapes_its_line() {
        let rows = vec![["a".into(), "x\u{1b}[2J\n".into()], ["long".into(), String::new()]];
        assert_eq!(table(["name", "said"], rows), "name  said\na     x?[2J?\nlong\n");
        assert_eq!(plain("a\u{202e}b"), "a?b");
    }

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(time(None), "");
        assert_eq!(time(Some(0)), "1970-01-01 00:00:00");
        assert_eq!(time(Some(951_782_400_000)), "2000-02-29 00:00:00");
        assert_eq!(time(Some(1_796_076_225_999)), "2026-11-30 22:03:45");
        assert_eq!(time(Some(4_107_542_399_000)), "2100-02-28 23:59:59");
        assert_eq!(time(Some(4_107_542_400_000)), "2100-03-01 00:00:00");
    }
}
