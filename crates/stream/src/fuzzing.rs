//! What the fuzz target runs. The seeds in `fuzz/seeds` run as a test here.

use crate::frame::{Frame, Frames, PAYLOAD};

/// Any bytes, in pieces of the length that the first says: no panic, and what is read is what was written.
pub fn stream(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (mut frames, mut again) = (Frames::default(), Vec::new());
    'all: for part in bytes.chunks(usize::from(cut).max(1)) {
        frames.push(part);
        loop {
            match frames.frame() {
                Ok(Some(frame)) => {
                    assert!(frame.payload.len() <= PAYLOAD, "a frame that is too long");
                    Frame { ..frame }.write(&mut again);
                }
                Ok(None) => break,
                Err(_) => break 'all,
            }
        }
    }
    assert!(bytes.starts_with(&again), "what is read is what was written");
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn seeds_of_stream() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/stream");
        let mut count = 0;
        for seed in fs::read_dir(seeds).unwrap() {
            super::stream(&fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 4, "{count} seeds");
    }
}
