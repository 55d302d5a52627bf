//! Using things up: each attempt stops a little beyond the limit that the bottle was given.

use super::{
    Case,
    Control::{self, Depends, Escapes},
    Outcome,
    Section::Life,
};
use crate::{Field, sys};

const fn case(name: &'static str, control: Control, attempt: fn(&Field) -> Outcome) -> Case {
    Case { name, section: Life, control, attempt }
}

pub(super) const CASES: &[Case] = &[
    case("disk through /tmp", Escapes, |field| disk(field, "/tmp")),
    case("disk through /dev/shm", Depends, |field| disk(field, "/dev/shm")),
    case("inodes through /tmp", Escapes, inodes),
    case("memory", Depends, memory),
    case("fork bomb", Escapes, forks),
];

fn forks(field: &Field) -> Outcome {
    let most = field.limits.pids + 20;
    let mut children = Vec::new();
    let mut held = None;
    for _ in 0..most {
        match sys::idle_child() {
            Ok(child) => children.push(child),
            Err(error) => {
                held = Some(error.to_string());
                break;
            }
        }
    }
    let made = children.len();
    children.into_iter().for_each(sys::end_child);
    match held {
        Some(error) => Outcome::Held(format!("{error}, after {made} processes")),
        None => Outcome::Escaped(format!("{made} processes where {} are allowed", field.limits.pids)),
    }
}

fn memory(field: &Field) -> Outcome {
    if !field.limits.memory_enforced {
        return Outcome::NotApplicable("no cgroup v2 is delegated here, as the preflight says".to_owned());
    }
    if field.bare {
        return Outcome::NotApplicable("the bare host's memory is not taken".to_owned());
    }
    const PIECE: usize = 8 * 1024 * 1024;
    let pieces = field.limits.memory / PIECE as u64 + 4;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    for _ in 0..pieces {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() {
            return Outcome::Held(format!("refused after {} pieces of 8 MiB", taken.len()));
        }
        // Touched, or the kernel would only promise it. By the page: a machine in an emulated one has little time.
        while piece.len() < PIECE {
            piece.extend_from_slice(&[1; 4096]);
        }
        taken.push(std::hint::black_box(piece));
    }
    Outcome::Escaped(format!("{} MiB where {} are allowed", taken.len() * 8, field.limits.memory >> 20))
}

fn disk(field: &Field, path: &str) -> Outcome {
    match rustix::fs::statvfs(path) {
        Ok(state) => {
            let bytes = state.f_blocks.saturating_mul(state.f_frsize);
            let text = format!("{} MiB", bytes >> 20);
            if bytes <= field.limits.disk { Outcome::Held(text) } else { Outcome::Escaped(text) }
        }
        Err(error) => Outcome::Held(error.to_string()),
    }
}

fn inodes(_: &Field) -> Outcome {
    const ENOUGH: u64 = 2_000_000;
    match rustix::fs::statvfs("/tmp") {
        Ok(state) if (1..=ENOUGH).contains(&state.f_files) => Outcome::Held(format!("{} inodes", state.f_files)),
        Ok(state) => Outcome::Escaped(format!("{} inodes", state.f_files)),
        Err(error) => Outcome::Held(error.to_string()),
    }
}
