//! What is large, and what only becomes large.

use super::GitStage;
use bottle_testkit::env::PATIENCE;
use std::{
    fs,
    io::{BufWriter, Write as _},
    process::{Command, Stdio},
};

const ALLOW: [&str; 2] = ["--push", "app=refs/heads/agent/*:allow"];

/// What git does not look for likenesses in, which would take minutes.
const FILE: usize = 72;

/// Commits so many files of noise to the upstream's `main`.
fn fill(stage: &GitStage, files: usize) {
    let path = stage.upstream.path();
    let mut import = Command::new("git");
    import.arg("-C").arg(path).args(["-c", "safe.directory=*", "fast-import", "--quiet", "--done"]);
    let mut import = import.stdin(Stdio::piped()).spawn().expect("git starts");
    let mut to = BufWriter::new(import.stdin.take().expect("a pipe"));
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut file = vec![0; FILE << 20];
    for number in 0..files {
        for bytes in file.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.copy_from_slice(&state.to_le_bytes());
        }
        let from = if number == 0 { "from refs/heads/main^0\n" } else { "" };
        write!(to, "commit refs/heads/main\ncommitter A <a@example.test> 1700000000 +0000\ndata 2\nx\n{from}")
            .expect("it reads");
        write!(to, "M 100644 inline file{number}\ndata {}\n", file.len()).expect("it reads");
        to.write_all(&file).and_then(|()| to.write_all(b"\n")).expect("it reads");
    }
    to.write_all(b"done\n").and_then(|()| to.flush()).expect("it reads");
    drop(to);
    assert!(import.wait().expect("git ends").success());
    stage.upstream.own();
}

fn is_cloned(files: usize) {
    let stage = GitStage::new();
    fill(&stage, files);
    let ran = stage
        .env
        .spawn(&stage.arguments(&[], "git clone -q --bare $GIT_GATE_URL/app x; du -sm x | cut -f1; git -C x fsck"));
    let ran = ran.finish(PATIENCE * 10);
    let size: usize = ran.success().trim().parse().expect("a number");
    assert!(size >= files * FILE, "{ran}");
}

#[test]
fn a_large_repository_is_cloned() {
    is_cloned(1);
}

#[test]
#[ignore = "minutes and 4 GiB"]
fn a_repository_of_a_gibibyte_is_cloned() {
    is_cloned(15);
}

/// A client that says what it wants pushed and sends what it likes.
const RAW: &str = r#"
import socket, struct, sys, zlib, hashlib
line = lambda text: b"%04x" % (len(text) + 4) + text
def header(kind, size):
    out, byte = b"", (kind << 4) | (size & 15)
    size >>= 4
    while size:
        out += bytes([byte | 128])
        byte, size = size & 127, size >> 7
    return out + bytes([byte])
def number(n):
    out = b""
    while True:
        byte, n = n & 127, n >> 7
        out += bytes([byte | (128 if n else 0)])
        if not n: return out
def push(pieces):
    s = socket.create_connection(("127.0.0.1", 9418))
    s.sendall(line(b"git-receive-pack /app\0host=x\0"))
    heads = b""
    while not heads.endswith(b"0000"): heads += s.recv(1 << 16)
    s.sendall(line(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/agent/x\0report-status side-band-64k\n") + b"0000")
    try:
        for piece in pieces: s.sendall(piece)
        s.shutdown(socket.SHUT_WR)
    except OSError: pass
    said = b""
    try:
        while True:
            more = s.recv(1 << 16)
            if not more: break
            said += more
    except OSError: pass
    print(said.decode("utf8", "replace"))
"#;

fn pushes(stage: &GitStage, script: &str) -> String {
    let script = format!(
        "cat > push.py <<'END'\n{RAW}\n{script}\nEND\npython3 push.py; git ls-remote $GIT_GATE_URL/app agent/x"
    );
    let ran = stage.env.spawn(&stage.arguments(&ALLOW, &script)).finish(PATIENCE * 4);
    ran.success().to_owned()
}

#[test]
fn a_small_pack_of_huge_objects_is_refused_in_bounded_memory() {
    let stage = GitStage::new();
    // 16 MiB of nothing, and a delta that says them 128 times over.
    let script = r#"
base = b"\0" * 0xffffff
size = 128 * 0xffffff
delta = number(0xffffff) + number(size) + bytes([0x80 | 0x70, 0xff, 0xff, 0xff]) * 128
name = hashlib.sha1(b"blob %d\0" % len(base) + base).digest()
pack = b"PACK" + struct.pack(">II", 2, 2) + header(3, len(base)) + zlib.compress(base)
pack += header(7, len(delta)) + name + zlib.compress(delta)
pack += hashlib.sha1(pack).digest()
print(len(pack) < 1 << 16)
push([pack])"#;
    let said = pushes(&stage, script);
    assert!(said.starts_with("True\n"), "{said}");
    assert!(said.contains("Out of memory") || said.contains("out of memory"), "{said}");
    assert!(said.contains("unpack index-pack abnormal exit"), "{said}");
    // The door stays, and what was received is gone.
    stage.pushing(&ALLOW, "git push -q origin HEAD:refs/heads/agent/y").success();
    assert_eq!(stage.upstream.upstream("refs/heads/agent/x"), None);
}

#[test]
fn a_pack_that_says_it_has_four_billion_objects_is_refused() {
    let stage = GitStage::new();
    let said = pushes(&stage, r#"push([b"PACK" + struct.pack(">II", 2, 0xffffffff) + b"x" * 100])"#);
    assert!(said.contains("unpack"), "{said}");
    stage.pushing(&ALLOW, "git push -q origin HEAD:refs/heads/agent/y").success();
}

#[test]
#[ignore = "a minute, and 4 GiB of disk"]
fn a_pack_beyond_the_limit_is_refused_before_its_end() {
    let stage = GitStage::new();
    // Stored, not compressed: 10 GiB in all, of which 2 are taken.
    let script = r#"
import os
def pieces():
    yield b"PACK" + struct.pack(">II", 2, 1) + header(3, 10 << 30) + b"\x78\x01"
    noise = os.urandom(65535)
    for n in range((10 << 30) // 65535):
        yield b"\0" + struct.pack("<HH", 65535, 0) + noise
push(pieces())"#;
    let said = pushes(&stage, script);
    assert!(said.contains("pack exceeds maximum allowed size (2.00 GiB)"), "{said}");
    let left = stage.env.state().join("bottles");
    let left = Command::new("du").arg("-sm").arg(left).output().expect("du runs").stdout;
    let left = String::from_utf8_lossy(&left).split('\t').next().and_then(|size| size.parse::<u64>().ok());
    assert!(left.is_some_and(|size| size < 100), "what was received is gone: {left:?} MiB");
    let _ = fs::metadata(stage.upstream.path());
}
