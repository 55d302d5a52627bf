//! The detectors on files, for `cargo xtask bench` and `cargo xtask corpus`, which build this optimised.
//!
//! `scan speed FILE…` says how fast each is searched, as JSON; `scan worst` which rule a text of nothing but its keyword
//! slows most; `scan find` reads names of files and says what is found in each, redacted.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool of the bench")]

use bottle_policy::scan::{Detectors, Known, Scanner, Shape, detect::MAX_MATCH};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

mod rules {
    /// Id, keywords, lead, pattern, positive examples and near misses.
    pub(super) type Example = (
        &'static str,
        &'static [&'static str],
        &'static str,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );
    include!(concat!(env!("OUT_DIR"), "/examples.rs"));
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["speed", files @ ..] => files.iter().for_each(|file| speed(file)),
        ["worst"] => worst(),
        ["find"] => {
            let scanner = Arc::new(Scanner::new(Known::default()));
            std::io::stdin().lines().for_each(|file| find(&file.unwrap(), &scanner));
        }
        _ => println!("usage: scan speed FILE… | worst | find <LIST"),
    }
}

/// So long each measurement is repeated: the time on a core is told in steps of some milliseconds.
const LONG: Duration = Duration::from_millis(60);

/// The least of several measurements: the one that least else disturbed.
fn best(times: usize, mut run: impl FnMut()) -> Duration {
    run();
    (0..times).map(|_| time(&mut run)).min().unwrap_or_default()
}

/// The time that this thread was on a core, where the kernel tells: other work on the machine does not count.
fn time(run: &mut impl FnMut()) -> Duration {
    let (start, before) = (Instant::now(), on_core());
    let mut runs = 0;
    while runs == 0 || start.elapsed() < LONG {
        run();
        runs += 1;
    }
    before.zip(on_core()).map_or_else(|| start.elapsed(), |(before, after)| after - before) / runs
}

fn on_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9)
}

fn speed(file: &str) {
    let text = std::fs::read(file).unwrap();
    let detectors = Detectors::shared();
    let found = count(detectors, &text);
    let find = best(7, || {
        black_box(count(detectors, &text));
    });
    let scanner = Arc::new(Scanner::new(Known::builder().secret("a", b"a-secret-that-is-known").build()));
    let shape = if text.starts_with(b"{") { Shape::Json } else { Shape::Text };
    let stream = best(3, || {
        black_box(through(&scanner, shape.clone(), &text));
    });
    let piece = text.get(..10_000.min(text.len())).unwrap_or_default();
    let ten_kilobytes = best(5, || {
        black_box(through(&scanner, shape.clone(), piece));
    });
    // A RegexSet is so slow on hostile text that a part must do.
    let part = text.get(..text.len().min(1 << 18)).unwrap_or_default();
    let set = regex::bytes::RegexSetBuilder::new(patterns()).unicode(false).size_limit(1 << 30).build().unwrap();
    let regex_set = best(1, || {
        black_box(set.matches(part).iter().count());
    });
    println!(
        "{{\"find\":{:.1},\"stream\":{:.1},\"ten_kilobytes_us\":{:.1},\"regex_set\":{:.2},\"found\":{found}}}",
        rate(text.len(), find),
        rate(text.len(), stream),
        ten_kilobytes.as_secs_f64() * 1e6,
        rate(part.len(), regex_set),
    );
}

fn count(detectors: &Detectors, text: &[u8]) -> usize {
    let mut found = 0;
    let (mut from, mut settled_before) = (0, 0);
    // As a stream does: in windows that overlap by what a match may need.
    while from < text.len() {
        let end = (from + (64 << 10)).min(text.len());
        let (last, window) = (end == text.len(), text.get(from..end).unwrap_or_default());
        let settled = if last { window.len() } else { window.len() - MAX_MATCH };
        detectors.find(window, settled, last, &mut |hit| found += usize::from(hit.span.end + from >= settled_before));
        settled_before = from + settled;
        from = if last { end } else { settled_before - MAX_MATCH };
    }
    found
}

fn through(scanner: &Arc<Scanner>, shape: Shape, text: &[u8]) -> usize {
    let (mut stream, mut found) = (scanner.stream(shape), Vec::new());
    for chunk in text.chunks(16 << 10) {
        black_box(stream.push(chunk.to_vec().into(), &mut found));
    }
    black_box(stream.finish(&mut found));
    found.len()
}

/// The same rules for the regex crate: keyword and lead or gap, then the pattern.
fn patterns() -> Vec<String> {
    let named = |it: &&rules::Example| !it.3.is_empty();
    (rules::EXAMPLES.iter().filter(named))
        .map(|(_, keywords, lead, pattern, ..)| {
            let names = keywords.iter().map(|it| regex::escape(it)).collect::<Vec<_>>().join("|");
            match *lead {
                "" => pattern.to_string(),
                "=" => {
                    format!("(?i:{names})[A-Za-z0-9_. -]{{0,24}}[\"'\\s]{{0,3}}[=:>,(][\\s\"'`]{{0,5}}(?:{pattern})")
                }
                lead => format!("(?i:{lead})(?:{pattern})"),
            }
        })
        .collect()
}

/// Each keyword again and again, alone and with the beginning of what may follow it.
fn worst() {
    let detectors = Detectors::shared();
    let mut rates: Vec<(f64, String)> = Vec::new();
    for (id, keywords, ..) in rules::EXAMPLES {
        for keyword in *keywords {
            for filling in
                ["", "=", "aB3", "=aB3xY7zQ9", " = \"q8Zx7Wv6Yt5Rs4Pq3On2Ml1Kj0Ih", "0a1b2c3d4e5f60718293a4b5c6d7e8f"]
            {
                let unit = format!("{keyword}{filling}");
                let text = unit.repeat((256 << 10) / unit.len());
                let time = best(2, || {
                    black_box(count(detectors, text.as_bytes()));
                });
                rates.push((rate(text.len(), time), format!("{id}: `{unit}`")));
            }
        }
    }
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (rate, what) in rates.iter().take(25) {
        println!("{rate:8.1} MB/s  {what}");
    }
}

fn find(file: &str, scanner: &Arc<Scanner>) {
    let Ok(text) = std::fs::read(file) else { return };
    println!("{}", text.len());
    let form = match file.rsplit('.').next() {
        Some("html" | "xml" | "svg") => Shape::Xml,
        Some("json" | "map") => Shape::Json,
        _ => Shape::Raw,
    };
    let (mut stream, mut found) = (scanner.stream(form), Vec::new());
    for chunk in text.chunks(16 << 10) {
        stream.push(chunk.to_vec().into(), &mut found);
    }
    stream.finish(&mut found);
    for finding in &found {
        let place = |at: u64| usize::try_from(at).unwrap();
        let span = finding.span.as_ref().map(|it| place(it.start)..place(it.end));
        let shown = match span.filter(|_| std::env::var_os("SHOW").is_some()) {
            Some(span) => around(&text, span),
            None => finding.shown.to_string(),
        };
        println!("{file}\t{}\t{}\t{shown:?}", finding.rule, finding.through);
    }
}

/// The line with what is before it, for whoever improves a rule.
fn around(text: &[u8], span: std::ops::Range<usize>) -> String {
    let context = text.get(span.start.saturating_sub(40)..(span.end + 10).min(text.len())).unwrap_or_default();
    String::from_utf8_lossy(context.get(..context.len().min(200)).unwrap_or_default()).into_owned()
}
