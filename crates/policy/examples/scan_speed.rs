//! What a stream does to texts of different kinds, in MB/s on one core: `cargo run --release -p bottle-policy --example
//! scan_speed -- [TEXT|FILE…]`. The figures of docs/benchmarks.md are `cargo xtask bench scan`'s; this is for whoever changes
//! the scanner.
#![expect(clippy::print_stdout, reason = "an example")]

use bottle_policy::scan::{Known, Place, Scanner, Shape};
use bytes::Bytes;
use std::sync::Arc;

/// Seconds that this thread was on a core: other work on the machine does not count.
fn now() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|it| it.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

fn noise(length: usize, alphabet: &[u8]) -> Vec<u8> {
    let mut seed = 7u64;
    let step = |_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        alphabet[usize::try_from(seed >> 40).unwrap_or_default() % alphabet.len()]
    };
    (0..length).map(step).collect()
}

fn known() -> Known {
    Known::builder().secret("a", b"Tr0ub4dor-and-3xtra/Zq==").canary("b", b"kX2vQp8sLw5nRt7yBd4hJc9m").build()
}

/// For a profiler that counts instructions: `scan_speed once FILE`.
fn run_once(text: &[u8]) {
    let (mut stream, mut found) = (Arc::new(Scanner::new(known())).stream(Shape::Json), Vec::new());
    for chunk in text.chunks(16 * 1024) {
        stream.push(Bytes::copy_from_slice(chunk), &mut found);
    }
    stream.finish(&mut found);
    println!("{} found", found.len());
}

fn main() {
    if let [_, once, file] = std::env::args().collect::<Vec<_>>().as_slice()
        && once == "once"
    {
        return run_once(&std::fs::read(file).unwrap_or_default());
    }
    let prose = "The quick brown fox jumps over the lazy dog, and then it wrote some code:\\n\\n```rust\\nfn main() {\\n    println!(\\\"hello\\\");\\n}\\n```\\nThat is all there is to it, isn't it? ";
    let message = format!("{{\"role\":\"user\",\"content\":\"{}\"}},", prose.repeat(8));
    let chat = format!("{{\"model\":\"some-model-1\",\"messages\":[{}]}}", message.repeat(2000));
    let base64: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").collect();
    let graphic: Vec<u8> = (b'!'..=b'~').collect();
    let any: Vec<u8> = (0..=255).collect();
    let mut texts = vec![
        ("chat".to_owned(), chat.into_bytes()),
        ("base64 noise".to_owned(), noise(4_000_000, &base64)),
        ("graphic noise".to_owned(), noise(4_000_000, &graphic)),
        ("binary noise".to_owned(), noise(4_000_000, &any)),
    ];
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    texts.retain(|(name, _)| chosen.is_empty() || chosen.contains(name));
    for file in &chosen {
        if let Ok(text) = std::fs::read(file) {
            texts.push((file.clone(), text));
        }
    }
    for (what, known) in [("nothing known", Known::default()), ("two values known", known())] {
        println!("== {what}");
        let scanner = Arc::new(Scanner::new(known));
        for (name, text) in &texts {
            let chunks: Vec<Bytes> = text.chunks(16 * 1024).map(Bytes::copy_from_slice).collect();
            let (mut best, mut count) = (f64::MAX, 0);
            for _ in 0..5 {
                let mut found = Vec::new();
                let start = now();
                let mut stream = scanner.stream(Shape::Json);
                for chunk in &chunks {
                    stream.push(chunk.clone(), &mut found);
                }
                stream.finish(&mut found);
                best = best.min(now() - start);
                count = found.len();
            }
            println!("{name}: {:.0} MB/s, {count} found", text.len() as f64 / best / 1e6);
        }
        if !chosen.is_empty() {
            continue;
        }
        for size in [1000, 10_000] {
            let text = texts.first().map(|(_, text)| text.get(..size).unwrap_or_default()).unwrap_or_default();
            let start = now();
            for _ in 0..1000 {
                let mut found = Vec::new();
                let mut stream = scanner.stream(Shape::Json);
                stream.push(Bytes::copy_from_slice(text), &mut found);
                stream.finish(&mut found);
            }
            println!("{size} bytes of chat: {:.1} µs", (now() - start) * 1e3);
        }
        let headers = [
            ("host", "api.test"),
            ("user-agent", "agent/1.0 (linux)"),
            ("accept", "*/*"),
            ("content-type", "application/json"),
        ];
        let start = now();
        for _ in 0..1000 {
            let headers = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
            let _ = scanner.request_head("api.test", "/v1/messages?beta=true", headers);
        }
        println!("a request's head: {:.1} µs", (now() - start) * 1e3);
        let _ = scanner.piece(Place::Name, b"x");
    }
}
