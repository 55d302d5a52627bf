//! What a stream takes, whatever comes.

use super::{hide, scanner};
use bottle_policy::scan::Shape;
use bytes::Bytes;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// Counts what this thread has allocated.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    let _ = NOW.try_with(|now| {
        now.set(now.get() + size);
        let _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; it passes everything on")]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(isize::try_from(layout.size()).unwrap());
        // SAFETY: the caller keeps to the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-isize::try_from(layout.size()).unwrap());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MOST_ALLOWED: isize = 256 * 1024;

fn noise(length: usize) -> Vec<u8> {
    let mut seed = 7u32;
    let step = |_| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..length).map(step).collect()
}

#[test]
fn a_stream_stays_within_its_memory() {
    let nested = (0..8).fold(noise(8000), |it, _| hide::base64(&it).into_bytes());
    let zips = (0..4).fold(noise(20_000), |it, _| hide::gzip(&it));
    let texts: Vec<(&str, Vec<u8>)> = vec![
        ("plain", b"some words and more of them; ".repeat(3000)),
        ("noise", noise(90_000)),
        ("base64", hide::base64(&noise(70_000)).into_bytes()),
        ("nested base64", nested),
        ("gzip in gzip", zips.repeat(5)),
        ("base64 of gzip in gzip", hide::base64(&zips.repeat(5)).into_bytes()),
        ("percent, layered", hide::percent(&"x".repeat(3000), 6).into_bytes()),
        ("hexadecimal", hide::hex(&noise(30_000), "", ":").into_bytes()),
        ("one string", [&b"{\"a\":\""[..], &b"x".repeat(90_000)].concat()),
        ("many fields", (0..6000).map(|it| format!("\"k{it}\":\"{it}\",")).collect::<String>().into_bytes()),
        ("form", b"a=b&".repeat(25_000)),
        ("other script", "слово \u{200b}".repeat(6000).into_bytes()),
        ("references", b"&#x26;#x26;".repeat(8000)),
        ("bomb", hide::gzip(&vec![0; 5_000_000])),
    ];
    let scanner = scanner();
    let _ = scanner.piece(bottle_policy::scan::Place::Body, b"warm");
    let multipart = Shape::of(Some(b"multipart/form-data; boundary=xyz"));
    let others = [Shape::Json, Shape::Raw, multipart, Shape::Xml, Shape::WebSocketMessages];
    for ((name, text), other) in texts.into_iter().zip(others.into_iter().cycle()) {
        for shape in [Shape::Form, Shape::EventStream, other] {
            let chunks: Vec<Bytes> = text.chunks(16 * 1024).map(Bytes::copy_from_slice).collect();
            let mut found = Vec::with_capacity(4000);
            let before = NOW.get();
            MOST.set(before);
            let mut stream = scanner.stream(shape.clone());
            for chunk in chunks {
                // What is given back is the caller's at once; so is the chunk.
                let size = isize::try_from(chunk.len()).unwrap();
                drop(stream.push(chunk, &mut found));
                NOW.set(NOW.get() + size);
            }
            drop(stream.finish(&mut found));
            let most = MOST.get() - before;
            assert!(most < MOST_ALLOWED, "{name}, {shape:?}: {most}");
        }
    }
}
