//! How much room images take, and what a process that is killed leaves of one.

use super::{LIMITS, NAME, SOON, Yard};
use crate::crash::{signal, stopped_keeper};
use bottle_testkit::{ImageRegistry, Running, wait_for};
use rustix::process::Signal;
use std::{fs, path::PathBuf};

/// A registry whose images differ in a file, `/image`, that has their name.
fn pushed(yard: &Yard, names: &[&str]) -> Option<ImageRegistry> {
    let registry = ImageRegistry::start(yard.stage.env.root(), false)?;
    for name in names {
        fs::write(yard.stage.env.root().join("image/image"), name).expect("an image of ours");
        registry.push(name, "1", &yard.machines.packed(&yard.stage.env), false);
    }
    Some(registry)
}

/// What is kept, but for locks: the names of directories, and then of files.
fn kept(yard: &Yard) -> (Vec<String>, Vec<String>) {
    let images = yard.stage.env.root().join("cache/bot-bottle/images");
    let all = fs::read_dir(images).expect("images").flatten();
    let all = all.filter(|entry| entry.path().extension().is_none_or(|it| it != "lock"));
    let (directories, files): (Vec<_>, Vec<_>) = all.partition(|entry| entry.path().is_dir());
    let names = |entries: Vec<fs::DirEntry>| {
        let mut names: Vec<_> = entries.iter().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    (names(directories), names(files))
}

fn path(yard: &Yard, name: &str) -> PathBuf {
    yard.stage.env.root().join("cache/bot-bottle/images").join(name)
}

#[test]
fn images_take_no_more_room_than_they_may_and_those_of_bottles_stay() {
    let mut yard = Yard::of_stand_ins();
    yard.stage.env.set("BOT_BOTTLE_IMAGES_LIMIT", "1MiB");
    let Some(registry) = pushed(&yard, &["one", "two", "three"]) else { return };
    let image = |name: &str| format!("{}/{name}:1", registry.address);
    yard.detached(&["--keep", "--image", &image("one")], "sleep 1000");
    let (first, archives) = kept(&yard);
    assert_eq!((first.len(), archives.len()), (1, 1), "what is made stays, however large it is");
    let show = |name: &str| yard.run(&["--image", &image(name)], &["cat", "/image"]);
    assert_eq!(show("two").success(), "two");
    let (directories, others) = kept(&yard);
    assert!(directories.len() == 2 && directories.contains(&first[0]), "a bottle has it: {directories:?}");
    assert!(others.len() == 1 && others != archives, "its archive nobody has: {others:?}");
    assert_eq!(yard.exec("cat /image"), "one");
    yard.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    assert_eq!(show("three").success(), "three");
    let (last, _) = kept(&yard);
    assert!(last.len() == 1 && !directories.contains(&last[0]), "the others are gone: {last:?}");
    let resumed = yard.stage.env.run(&["resume", "--detach", NAME]);
    assert!(resumed.failure(4).contains("is no longer unpacked here; `bot-bottle cleanup`"), "{resumed}");
    yard.stage.env.set("BOT_BOTTLE_IMAGES_LIMIT", "40");
    assert!(
        yard.run(&["--image", &image("one")], &["true"]).failure(2).contains("BOT_BOTTLE_IMAGES_LIMIT is no size: 40")
    );
    yard.nothing_is_left();
}

/// Between the plan and the keeper's own hold its launcher has it.
#[test]
fn an_image_stays_until_the_keeper_holds_it() {
    let mut yard = Yard::of_stand_ins();
    yard.stage.env.set("BOT_BOTTLE_IMAGES_LIMIT", "1MiB");
    let Some(registry) = pushed(&yard, &["one", "two"]) else { return };
    let image = |name: &str| format!("{}/{name}:1", registry.address);
    let one = image("one");
    let flags = [&LIMITS[..], &["--hold-at", "room", "--image", &one]].concat();
    let running = yard.stage.spawn(&flags, &["cat", "/image"]);
    let keeper = wait_for("the keeper to be held", SOON, || stopped_keeper(&yard.stage));
    assert_eq!(yard.run(&["--image", &image("two")], &["cat", "/image"]).success(), "two");
    signal(keeper, Signal::CONT).expect("our own keeper");
    assert_eq!(running.finish(2 * SOON).success(), "one");
    yard.nothing_is_left();
}

#[test]
fn what_a_killed_start_has_unpacked_of_an_image_goes_with_the_next() {
    let yard = Yard::of_stand_ins();
    let strace = "/usr/bin/strace";
    if !PathBuf::from(strace).exists() {
        println!("SKIPPED(no strace): a start that is killed while it unpacks; see scripts/install-test-needs");
        return;
    }
    let Some(registry) = pushed(&yard, &["one", "two"]) else { return };
    let image = |name: &str| format!("{}/{name}:1", registry.address);
    yard.run(&["--image", &image("one")], &["true"]).success();
    let (whole, _) = kept(&yard);
    let part = format!("{}.part", whole[0]);
    fs::remove_dir_all(path(&yard, &whole[0])).expect("a cache of ours");
    // Killed when all of it is there, before it gets its name.
    let mut command = yard.stage.env.program_of_host(strace);
    command.args(["-f", "-e", "trace=/^rename", "-e", "inject=/^rename:signal=SIGKILL", "-P"]).arg(path(&yard, &part));
    command.arg(yard.stage.env.program());
    let one = image("one");
    command.args(yard.stage.arguments(&[&LIMITS[..], &["--image", &one]].concat(), &["true"]));
    let ran = Running::start(command).finish(2 * SOON);
    if ran.stderr.contains("ptrace") {
        println!("SKIPPED(no ptrace here): a start that is killed while it unpacks");
        return;
    }
    assert_eq!(kept(&yard).0, [part.as_str()], "{ran}");
    assert_eq!(yard.run(&["--image", &image("two")], &["cat", "/image"]).success(), "two");
    let (directories, _) = kept(&yard);
    assert!(directories.len() == 1 && directories[0] != part, "{directories:?}");
    assert_eq!(yard.run(&["--image", &image("one")], &["cat", "/image"]).success(), "one");
    yard.nothing_is_left();
}
