//! Changes as a patch in git's format, without git: what `git apply` reads.
//!
//! Both sides may be hostile. Binary and long files are named and not shown; a comparison that takes too long gets
//! coarser, not longer.

use bottle_runtime::changes::{Change, What};
use bottle_spec::escape::Escaped;
use similar::{Algorithm, ChangeTag, TextDiff};
use std::{
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// Longer files are not compared line by line.
pub(crate) const LONGEST: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_millis(500);
/// git looks so far for a NUL.
const TELLING: usize = 8000;

/// The contents of one side: of a file, or where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Side {
    Nothing,
    Bytes(Vec<u8>),
    /// It is there and not at hand, or too long.
    Unread,
}

/// How many lines come and go. `None` where lines were not compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) insertions: usize,
    pub(crate) deletions: usize,
}

/// One change, appended to `patch`.
pub(crate) fn write(patch: &mut Vec<u8>, change: &Change, before: &Side, after: &Side) -> Option<Count> {
    let kinds = (change.before.as_ref().map(mode), change.after.as_ref().map(mode));
    if let (Some(old), Some(new)) = kinds
        && old.starts_with("12") != new.starts_with("12")
    {
        // git has it so, too: a file cannot become a link by lines.
        let gone = Change { after: None, ..change.clone() };
        let come = Change { before: None, ..change.clone() };
        let first = write(patch, &gone, before, &Side::Nothing)?;
        let second = write(patch, &come, &Side::Nothing, after)?;
        return Some(Count { insertions: second.insertions, deletions: first.deletions });
    }
    let (a, b) = (quoted("a/", &change.path), quoted("b/", &change.path));
    let name = |there: bool, name: &[u8]| if there { name.to_vec() } else { b"/dev/null".to_vec() };
    let (from, to) = (name(change.before.is_some(), &a), name(change.after.is_some(), &b));
    let (old, new) = match (before, after) {
        // With git's header these would be patches that git cannot apply; a line without one it passes over.
        (Side::Unread, _) | (_, Side::Unread) => {
            line(
                patch,
                &[b"Files ", &from, b" and ", &to, b" differ (too long to be shown, or changed on this host as well)"],
            );
            return None;
        }
        (before, after) if is_binary(bytes(before)) || is_binary(bytes(after)) => {
            line(patch, &[b"Binary files ", &from, b" and ", &to, b" differ"]);
            return None;
        }
        (before, after) => (bytes(before), bytes(after)),
    };
    line(patch, &[b"diff --git ", &a, b" ", &b]);
    match kinds {
        (None, Some(new)) => line(patch, &[b"new file mode ", new.as_bytes()]),
        (Some(old), None) => line(patch, &[b"deleted file mode ", old.as_bytes()]),
        (Some(old), Some(new)) if old != new => {
            line(patch, &[b"old mode ", old.as_bytes()]);
            line(patch, &[b"new mode ", new.as_bytes()]);
        }
        _ => {}
    }
    if old == new {
        return Some(Count::default());
    }
    let deadline = Instant::now() + PATIENCE;
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).deadline(deadline).diff_lines(old, new);
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    let (insertions, deletions) = (count(ChangeTag::Insert), count(ChangeTag::Delete));
    line(patch, &[b"--- ", &from]);
    line(patch, &[b"+++ ", &to]);
    // Writing to memory does not fail.
    let _ = diff.unified_diff().context_radius(3).to_writer(&mut *patch);
    Some(Count { insertions, deletions })
}

/// For a terminal: each line made harmless, tabs kept.
pub(crate) fn harmless(patch: &[u8]) -> String {
    let text = String::from_utf8_lossy(patch);
    let lines = text.split_inclusive('\n').map(|line| {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let parts: Vec<String> = line.split('\t').map(|part| Escaped(part).to_string()).collect();
        format!("{}{end}", parts.join("\t"))
    });
    lines.collect()
}

fn mode(what: &What) -> &'static str {
    match what {
        What::Link { .. } => "120000",
        What::File { executable: true, .. } => "100755",
        What::File { executable: false, .. } => "100644",
    }
}

fn bytes(side: &Side) -> &[u8] {
    match side {
        Side::Bytes(bytes) => bytes,
        Side::Nothing | Side::Unread => &[],
    }
}

fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(TELLING).any(|byte| *byte == 0)
}

fn line(patch: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| patch.extend_from_slice(part));
    patch.push(b'\n');
}

/// As git quotes names: in C's way where there is anything but plain characters.
fn quoted(side: &str, path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let plain = bytes.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    if plain {
        return [side.as_bytes(), bytes].concat();
    }
    let mut text = format!("\"{side}").into_bytes();
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            b'\n' => text.extend(b"\\n"),
            b'\t' => text.extend(b"\\t"),
            b' '..=b'~' => text.push(*byte),
            // Octal, of which there are three digits.
            byte => drop(write!(text, "\\{byte:03o}")),
        }
    }
    text.push(b'"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(executable: bool) -> Option<What> {
        Some(What::File { executable, size: 0, hash: None })
    }

    fn patch(path: &str, before: Option<What>, after: Option<What>, old: &[u8], new: &[u8]) -> String {
        let side =
            |what: &Option<What>, bytes: &[u8]| what.as_ref().map_or(Side::Nothing, |_| Side::Bytes(bytes.to_vec()));
        let (old, new) = (side(&before, old), side(&after, new));
        let change = Change { path: path.into(), before, after, risk: None };
        let mut patch = Vec::new();
        write(&mut patch, &change, &old, &new);
        harmless(&patch)
    }

    #[test]
    fn a_patch_reads_as_gits() {
        assert_eq!(
            patch("a b", file(false), file(true), b"1\n2\n", b"1\n3"),
            "diff --git a/a b b/a b\nold mode 100644\nnew mode 100755\n--- a/a b\n+++ b/a b\n@@ -1,2 +1,2 @@\n 1\n-2\n+3\n\
             \\ No newline at end of file\n"
        );
        assert_eq!(
            patch("ü\n", None, file(false), b"", b"\x1b[31m\tx\n"),
            "diff --git \"a/\\303\\274\\n\" \"b/\\303\\274\\n\"\nnew file mode 100644\n--- /dev/null\n\
             +++ \"b/\\303\\274\\n\"\n@@ -0,0 +1 @@\n+\\u{1b}[31m\tx\n"
        );
        assert!(patch("x", file(false), file(false), b"a\0", b"b\0").ends_with("Binary files a/x and b/x differ\n"));
        let link = Some(What::Link { target: "t".into() });
        let kinds = patch("x", file(false), link, b"a\n", b"t");
        assert!(kinds.contains("deleted file mode 100644") && kinds.contains("new file mode 120000"), "{kinds}");
    }

    #[test]
    fn hostile_lines_do_not_take_forever() {
        let lines =
            |seed: u32| (0..200_000_u32).map(|n| format!("{}\n", n.wrapping_mul(seed) % 977)).collect::<String>();
        let began = Instant::now();
        patch("x", file(false), file(false), lines(7919).as_bytes(), lines(104_729).as_bytes());
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
