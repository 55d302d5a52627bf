//! A preflight that is longer than the screen, made to fit.
//!
//! Invariants: what fits is left as it is; else what is empty goes into one row, lines are cut at the screen's width, and
//! of the longest lists the last entries are only counted and named. `--verbose` and `--json` have it all.

use super::Row;
use bottle_spec::init_link::WindowSize;

/// What stands before a value.
const INDENT: usize = 11;
/// What any terminal has.
pub(super) const SMALLEST: WindowSize = WindowSize { rows: 24, columns: 80 };
/// For the question and what was typed before.
const KEPT_FREE: usize = 2;
/// The last row of what was made to fit.
const MORE: (&str, &str) = ("…", "shortened; --verbose shows all");

pub(super) fn fit(rows: Vec<Row>, screen: WindowSize) -> Vec<Row> {
    let columns = usize::from(screen.columns.max(SMALLEST.columns)).saturating_sub(INDENT);
    let height = usize::from(screen.rows.max(SMALLEST.rows)).saturating_sub(KEPT_FREE);
    if height_of(&rows, columns) <= height {
        return rows;
    }
    let (empty, mut rows): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|(_, values)| values.is_empty());
    if !empty.is_empty() {
        let names: Vec<&str> = empty.iter().map(|(name, _)| *name).collect();
        rows.push((super::NONE, vec![names.join(", ")]));
    }
    // The row that says so.
    let height = height.saturating_sub(1);
    let whole: Vec<Vec<String>> = rows.iter().map(|(_, values)| values.clone()).collect();
    loop {
        rows.iter_mut().for_each(|(_, values)| values.iter_mut().for_each(|value| *value = cut(value, columns)));
        let fits = rows.iter().map(|(_, values)| values.len()).sum::<usize>() <= height;
        let longest = rows.iter().enumerate().max_by_key(|(_, (_, values))| values.len());
        let (at, length) = match longest.map(|(at, (_, values))| (at, values.len())) {
            Some((at, length)) if length > 2 && !fits => (at, length),
            _ => break,
        };
        if let (Some((_, values)), Some(whole)) = (rows.get_mut(at), whole.get(at)) {
            *values = shortened(whole, length - 1);
        }
    }
    rows.push((MORE.0, vec![MORE.1.to_owned()]));
    rows
}

/// Lines on a screen of this width.
fn height_of(rows: &[Row], columns: usize) -> usize {
    let lines = |value: &String| value.chars().count().div_ceil(columns).max(1);
    rows.iter().map(|(_, values)| values.iter().map(lines).sum::<usize>().max(1)).sum()
}

/// All but the last few, and a line that names those.
fn shortened(values: &[String], lines: usize) -> Vec<String> {
    let (shown, rest) = values.split_at(lines.saturating_sub(1).min(values.len()));
    let names: Vec<&str> = rest.iter().filter_map(|value| value.split(' ').next()).collect();
    let more = format!("and {} more: {}", rest.len(), names.join(" "));
    shown.iter().cloned().chain([more]).collect()
}

fn cut(value: &str, columns: usize) -> String {
    match value.char_indices().nth(columns) {
        None => value.to_owned(),
        Some(_) => value.chars().take(columns.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_does_not_is_shortened_where_it_is_longest() {
        let list = |name, count: usize| (name, (0..count).map(|at| format!("{name}{at}.test  GET")).collect());
        let small: Vec<Row> = vec![("a", vec!["x".to_owned()]), ("b", Vec::new()), list("c", 20)];
        assert_eq!(fit(small.clone(), SMALLEST), small);

        let long = "y".repeat(200);
        let large: Vec<Row> =
            vec![("a", vec![long]), ("b", Vec::new()), ("e", Vec::new()), list("c", 30), list("d", 4)];
        let fitted = fit(large.clone(), SMALLEST);
        assert_eq!(fitted.iter().map(|(_, values)| values.len()).sum::<usize>(), 22);
        assert!(fitted[0].1[0].chars().count() == 69 && fitted[0].1[0].ends_with('…'));
        assert_eq!(fitted[3], ("(none)", vec!["b, e".to_owned()]));
        assert_eq!(fitted[4].0, "…");
        assert_eq!(fitted[2], large[4], "the shorter list is whole");
        let more = fitted[1].1.last().unwrap();
        assert!(fitted[1].1.len() == 15 && more.starts_with("and 16 more: c14.test c15.test"));
        assert!(height_of(&fit(large.clone(), WindowSize { rows: 60, columns: 80 }), 69) == height_of(&large, 69));
    }
}
