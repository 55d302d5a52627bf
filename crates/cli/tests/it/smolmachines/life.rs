//! What its user does with it.

use super::{NAME, SOON, Yard};
use crate::{
    gate::pid_of,
    screen::{Screen, resize},
    stage::{HOST, TOKEN},
};
use bottle_testkit::{Running, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

#[test]
fn a_command_runs_in_the_machine_and_reaches_what_is_allowed_alone() {
    let yard = Yard::new();
    let ran = yard.run(&[], &["sh", "-c", "echo out; echo err >&2; ls /bin/busybox; pwd; exit 9"]);
    assert_eq!(ran.code, Some(9), "{ran}");
    assert!(ran.stdout == "out\n/bin/busybox\n/home/agent\n" && ran.stderr.contains("err"), "{ran}");
    assert_eq!(yard.run(&[], &["no-such-program"]).code, Some(127));

    let auth = format!("{HOST}=bearer:env:UP_TOKEN");
    let script = "curl -s https://up.test/echo-headers; curl -s -o /dev/null -w ' %{http_code}' https://no.test/";
    let without = format!("unset http_proxy https_proxy HTTPS_PROXY ALL_PROXY all_proxy; {script}");
    for script in [script, &without] {
        let ran = yard.run(&["--allow", HOST, "--auth", &auth], &["sh", "-c", script]);
        assert!(!ran.stdout.contains(TOKEN), "the echo of a secret came back: {ran}");
        let seen = yard.stage.upstream.take_seen();
        let header = |seen: &bottle_testkit::Seen| {
            seen.headers.iter().any(|(name, value)| name == "authorization" && value.contains(TOKEN))
        };
        assert!(seen.len() == 1 && seen.iter().all(header), "{seen:?} {ran}");
        assert!(ran.stdout.ends_with(" 403") || ran.stdout.ends_with(" 000"), "{ran}");
    }
    assert!(yard.stage.env.bottles().is_empty(), "`run` keeps nothing");
    yard.nothing_is_left();
}

/// As short as it can be and whole: this is what an emulated machine is started for each time.
#[test]
fn a_machine_lives_reaches_what_it_may_is_resumed_and_reaped() {
    let yard = Yard::new();
    let env = &yard.stage.env;
    let auth = format!("{HOST}=bearer:env:UP_TOKEN");
    let canary = Canary::alive();
    println!("start");
    // How its programs do is seen in its home, from the host.
    yard.detached(&["--keep", "--allow", HOST, "--auth", &auth], "while :; do echo >>~/heart; sleep 1; done");
    println!("reach");
    let port = canary.port;
    let beyond =
        canary.addresses.iter().map(String::as_str).chain(["100.96.0.1", "169.254.169.254", "host.smolvm.internal"]);
    let beyond = beyond.map(|address| format!("nc -w 1 {address} {port} </dev/null && echo REACHED {address};"));
    let script = format!(
        "curl -s -i https://up.test/echo-headers >~/echo; curl -s -o /dev/null -w '%{{http_code}}\\n' https://no.test/; \
         nc -w 1 127.0.0.1 8888 </dev/null && echo OWN-DOOR; {} uname -r; env; cat /proc/net/route ~/echo",
        beyond.collect::<String>()
    );
    let said = yard.exec(&script);
    let seen = yard.stage.upstream.take_seen();
    let injected = |(name, value): &(String, String)| name == "authorization" && value.contains(TOKEN);
    assert!(seen.len() == 1 && seen[0].headers.iter().any(injected), "{seen:?} {said}");
    assert!(said.contains("x-echo-authorization") && !said.contains(TOKEN), "the bottle sees no secret: {said}");
    assert!(said.starts_with("000\n") || said.starts_with("403\n"), "{said}");
    assert!(said.contains("OWN-DOOR"), "what tries the canary works: {said}");
    assert!(canary.listener.accept().is_err() && !said.contains("REACHED"), "{said}");
    let own = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    assert_eq!(!said.contains(own.trim()), yard.machines.are_real(), "a machine has a kernel of its own: {said}");
    if std::env::var_os("EMULATED").is_some() {
        // A host that slept for days: its clock is ahead at once, the machine's is not.
        println!("sleep");
        let set = std::process::Command::new("date").args(["-s", "+3 days"]).output().expect("date");
        assert!(set.status.success(), "root of the emulated machine sets its clock: {set:?}");
        let said = yard.exec("curl -s -o /dev/null -w '%{http_code}' https://up.test/echo-headers");
        assert_eq!(said, "200", "certificates are good by the machine's clock");
        yard.stage.upstream.take_seen();
        assert!(env.run(&["list"]).success().contains("running"));
    }
    println!("stop");
    env.run(&["stop", "--grace", "1", NAME]).success();
    assert_eq!(yard.machines(), Vec::<u32>::new(), "a stopped bottle has no machine");
    println!("resume");
    env.run(&["resume", "--detach", NAME]).success();
    assert!(yard.exec("cat ~/echo").contains("x-echo-authorization"), "its home is there again");
    println!("kill");
    let heart = env.state().join("bottles").join(NAME).join("agent/home/heart");
    let beats = || fs::metadata(&heart).map_or(0, |heart| heart.len());
    let before = beats();
    wait_until("its heart to beat", SOON, || beats() > before);
    kill_process(pid_of(&yard.stage, "keeper").expect("a keeper"), Signal::KILL).expect("our own keeper");
    wait_until("its heart to stand still", SOON, || {
        let before = beats();
        std::thread::sleep(Duration::from_secs(3));
        beats() == before
    });
    println!("cleanup");
    wait_until("the bottle to be known as dead", SOON, || env.run(&["list"]).stdout.contains("failed"));
    env.run(&["cleanup", "--yes"]).success();
    assert_eq!(yard.machines(), Vec::<u32>::new(), "a reaped bottle has no machine");
    yard.nothing_is_left();
}

/// Where a machine is none, the host's memory would be taken.
#[test]
fn a_machine_whose_memory_is_taken_goes_on() {
    let yard = Yard::new();
    if !yard.machines.are_real() {
        println!("SKIPPED(no real machine: run `cargo xtask emulated smolmachines whose_memory`)");
        return;
    }
    // The second is the least that a machine gets.
    for memory in ["memory=512MiB", "memory=256MiB"] {
        let flags = ["--limit", "cpus=1", "--limit", memory, "--detach", "--name", NAME];
        yard.stage.run(&flags, &["sleep", "100000"]).success();
        println!("take, {memory}: {}", yard.exec("grep -E '^Mem' /proc/meminfo | tr -s '\\n ' ' '"));
        let hungry = yard.stage.env.run(&["exec", NAME, "--", "tail", "/dev/zero"]);
        assert_eq!(hungry.code, Some(137), "it is ended by the kernel: {hungry}");
        println!("live");
        assert_eq!(yard.exec("echo alive"), "alive\n");
        yard.stage.env.run(&["stop", "--grace", "1", NAME]).success();
        yard.nothing_is_left();
    }
}

/// Listens at every address that this host has.
struct Canary {
    listener: TcpListener,
    port: u16,
    addresses: Vec<String>,
}

impl Canary {
    /// One that hears whoever gets as far as the host, which is tried from there.
    fn alive() -> Canary {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let table = fs::read_to_string("/proc/net/fib_trie").expect("the kernel's addresses");
        let lines: Vec<&str> = table.lines().map(str::trim).collect();
        let own = lines.windows(2).filter(|pair| pair[1] == "/32 host LOCAL");
        let own: BTreeSet<&str> = own.filter_map(|pair| pair[0].strip_prefix("|-- ")).collect();
        assert!(own.contains("127.0.0.1"), "{table}");
        let emulated = std::env::var_os("EMULATED").is_some();
        assert!(!emulated || own.len() > 1, "the emulated machine has an address besides its loopback's: {table}");
        for address in &own {
            TcpStream::connect((*address, port)).expect("the canary listens there");
            listener.accept().expect("the canary hears it");
        }
        listener.set_nonblocking(true).expect("a socket of ours");
        Canary { listener, port, addresses: own.into_iter().map(str::to_owned).collect() }
    }
}

#[test]
fn input_reaches_a_program_whole_and_ends() {
    let yard = Yard::new();
    yard.detached(&[], "sleep 1000");
    let given = yard.stage.env.write("given", vec![b'x'; 1 << 20]);
    let line = format!("exec \"$0\" exec {NAME} -- sh -c 'wc -c; echo done >&2' < {}", given.display());
    let mut command = yard.stage.env.program_of_host("sh");
    command.arg("-c").arg(line).arg(yard.stage.env.program());
    let ran = Running::start(command).finish(SOON);
    assert_eq!((ran.stdout.trim(), ran.code), ("1048576", Some(0)), "{ran}");
    assert!(ran.stderr.contains("done"), "{ran}");
    // One that reads nothing does not wait for its input to end.
    assert_eq!(yard.stage.env.run(&["exec", NAME, "--", "true"]).code, Some(0));
    let ran = yard.stage.env.run(&["exec", NAME, "--", "sh", "-c", "head -c 3000000 /dev/zero"]);
    assert_eq!(ran.success().len(), 3_000_000);
    yard.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    yard.nothing_is_left();
}

#[test]
fn stop_and_resume_find_home_and_workspace_again() {
    let yard = Yard::new();
    let env = &yard.stage.env;
    env.write("work/given", "by the user");
    yard.detached(&["--keep", "--workspace", "copy"], "sleep 1000");
    assert_eq!(yard.exec("cat given; echo mine > made; echo home > ~/kept; pwd"), "by the user/workspace\n");
    env.run(&["stop", "--grace", "1", NAME]).success();
    assert!(env.run(&["list"]).success().contains("stopped"));
    assert!(!env.state().join("bottles").join(NAME).join("room").exists(), "a stopped bottle has no machine");
    assert_eq!(env.run(&["resume", "--detach", NAME]).success(), format!("{NAME}\n"));
    assert_eq!(yard.exec("cat made ~/kept; curl -s -o /dev/null -w %{http_code} http://x.test/"), "mine\nhome\n403");
    env.run(&["stop", "--grace", "0", NAME]).success();
    yard.nothing_is_left();
}

#[test]
fn exec_cp_and_the_terminal_work_as_elsewhere() {
    let yard = Yard::new();
    let env = &yard.stage.env;
    yard.detached(&["--keep"], "sleep 1000");
    let ran = env.run(&["exec", NAME, "--", "sh", "-c", "echo out; echo err >&2; exit 9"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(9), "out\n", "err\n"), "{ran}");

    let file = env.write("given", "from the host");
    let inside = |path: &str| format!("{NAME}:/home/agent/{path}");
    env.run(&["cp", &file.display().to_string(), &inside("in")]).success();
    assert_eq!(yard.exec("cat in; mkdir d; echo back > d/f; ln -s /etc/passwd d/bad"), "from the host");
    let copy = env.work().join("copy");
    let ran = env.run(&["cp", &inside("d"), &copy.display().to_string()]);
    assert!(ran.stderr.contains("bad"), "{ran}");
    assert_eq!(fs::read_to_string(copy.join("f")).expect("it was copied"), "back\n");

    let mut screen = Screen::open(env, &["exec", "--tty", NAME, "--", "sh"]);
    screen.types("stty size; tty\r");
    screen.shows("24 80");
    screen.shows("/dev/pts/");
    resize(&screen.keys, 33, 101);
    wait_until("the new size", SOON, || {
        screen.types("stty size\r");
        screen.text().contains("33 101")
    });
    screen.types("exit 7\r");
    assert_eq!(screen.ends(), Some(7));
    env.run(&["stop", "--grace", "0", NAME]).success();
    yard.nothing_is_left();
}

/// Whatever the image has there.
#[test]
fn scratch_is_for_all_the_home_is_the_agents_and_no_mount_obeys_set_id_bits() {
    let yard = Yard::new();
    let image = yard.stage.env.root().join("image");
    for (path, mode) in [("tmp", 0o755), ("var/tmp", 0o555)] {
        fs::create_dir_all(image.join(path)).expect("an image of ours");
        fs::set_permissions(image.join(path), fs::Permissions::from_mode(mode)).expect("an image of ours");
    }
    let script = "stat -c '%a' /tmp /var/tmp; stat -c %u ~; id -u; touch /tmp/x /var/tmp/x ~/x; cat /proc/self/mounts";
    let ran = yard.run(&[], &["sh", "-c", script]);
    let (first, mounts) = {
        let mut lines = ran.success().lines();
        (lines.by_ref().take(4).collect::<Vec<_>>(), lines.collect::<Vec<_>>())
    };
    assert!(first[..2] == ["1777", "1777"] && first[2] == first[3], "{ran}");
    let obeys =
        |line: &&&str| !line.split(' ').nth(3).is_some_and(|options| options.split(',').any(|it| it == "nosuid"));
    assert_eq!(mounts.iter().filter(obeys).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert!(mounts.iter().any(|line| line.contains(" /dev/null ")), "{ran}");
    yard.nothing_is_left();
}

#[test]
fn a_keeper_that_is_killed_takes_its_machine_with_it() {
    let yard = Yard::of_stand_ins();
    yard.detached(&["--keep"], "sleep 1000");
    assert_eq!(yard.machines().len(), 1);
    kill_process(pid_of(&yard.stage, "keeper").expect("a keeper"), Signal::KILL).expect("our own keeper");
    wait_until("the machine to end by itself", SOON, || yard.machines().is_empty());
    yard.nothing_is_left();
}

#[test]
fn a_machine_that_is_killed_from_outside_ends_its_bottle_which_can_be_resumed() {
    let yard = Yard::of_stand_ins();
    let env = &yard.stage.env;
    yard.detached(&["--keep"], "echo kept >~/kept; sleep 1000");
    wait_until("the agent to have written", SOON, || {
        env.state().join("bottles").join(NAME).join("agent/home/kept").exists()
    });
    let machine = yard.machines()[0];
    let machine = rustix::process::Pid::from_raw(i32::try_from(machine).expect("a pid")).expect("a pid");
    kill_process(machine, Signal::KILL).expect("our own machine");
    wait_until("the bottle to be known as ended", SOON, || {
        let list = env.run(&["list"]);
        list.success().contains("stopped") || list.stdout.contains("failed")
    });
    assert_eq!(yard.machines(), Vec::<u32>::new());
    env.run(&["resume", "--detach", NAME]).success();
    assert_eq!(yard.exec("cat ~/kept"), "kept\n");
    env.run(&["stop", "--grace", "0", NAME]).success();
    yard.nothing_is_left();
}

/// As a host that sleeps: everything of a bottle stands still, and goes on.
#[test]
fn a_bottle_that_stood_still_goes_on() {
    let yard = Yard::of_stand_ins();
    yard.detached(&["--allow", HOST], "sleep 1000");
    let mut all: Vec<_> = ["keeper", "gate"].iter().map(|name| pid_of(&yard.stage, name).expect("it runs")).collect();
    let of_machine =
        yard.machines().into_iter().filter_map(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    all.extend(of_machine);
    assert_eq!(all.len(), 3);
    for pid in &all {
        kill_process(*pid, Signal::STOP).expect("our own process");
    }
    for pid in &all {
        wait_until("it to stand still", SOON, || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        });
    }
    // Asked meanwhile it is neither dead nor an error for ever: whoever asks may wait.
    let reach = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "https://up.test/echo-headers"];
    let asked = yard.stage.env.spawn(&[&["exec", NAME, "--"][..], &reach].concat());
    for pid in &all {
        kill_process(*pid, Signal::CONT).expect("our own process");
    }
    let answered = asked.finish(SOON);
    assert_eq!(answered.success(), "200", "{answered}");
    assert!(yard.stage.env.run(&["list"]).success().contains("running"));
    yard.stage.env.run(&["stop", "--grace", "0", NAME]).success();
    yard.nothing_is_left();
}

/// The keeper that was told to stop at this point.
pub(super) fn held(yard: &Yard, point: &str) -> Pid {
    wait_for(&format!("the keeper to be held at {point}"), SOON, || {
        let keeper = pid_of(&yard.stage, "keeper")?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", keeper.as_raw_nonzero())).ok()?;
        stat.rsplit(") ").next()?.starts_with('T').then_some(keeper)
    })
}

/// Where a machine is about to be there, or is.
#[test]
fn a_keeper_that_is_killed_anywhere_leaves_nothing_past_cleanup() {
    let yard = Yard::new();
    for point in ["room", "room.done", "serve.done", "probe", "agent.done", "end", "remove"] {
        let flags = ["--limit", "cpus=1", "--limit", "memory=512MiB", "--allow", HOST, "--hold-at", point];
        let running = yard.stage.spawn(&flags, &["true"]);
        let keeper = held(&yard, point);
        kill_process(keeper, Signal::KILL).expect("our own keeper");
        running.wait(SOON).expect("the launcher ends");
        yard.nothing_is_left();
    }
}

#[test]
fn a_machine_whose_bottle_is_gone_is_found() {
    let yard = Yard::new();
    yard.detached(&[], "sleep 1000");
    let keeper = pid_of(&yard.stage, "keeper").expect("a keeper");
    // One that runs would end its machine.
    kill_process(keeper, Signal::STOP).expect("our own keeper");
    fs::remove_dir_all(yard.stage.env.state().join("bottles").join(NAME)).expect("state of ours");
    let ran = yard.stage.env.run(&["cleanup", "--yes"]);
    assert!(ran.success().contains(&format!("{NAME}: machine ")), "{ran}");
    wait_until("no machine to be left", SOON, || yard.machines().is_empty());
    kill_process(keeper, Signal::KILL).expect("our own keeper");
    yard.nothing_is_left();
}
