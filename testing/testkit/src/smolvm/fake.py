#!/usr/bin/python3
"""Stands for smolvm where no machine can be started: writes the same record, answers as 1.32 does, and in the place of a
machine starts the workload in namespaces of its own, with nothing of the host but what the machine would be given.

Beside it lie `behaviour.json`, what is different about it this time, and `calls`, to which every call is added."""

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# What `machine create --help` names since a version.
SINCE = {"--mount-socket": (1, 6, 4), "--label": (1, 8, 0), "--user": (1, 14, 0), "--stop-on-exit": (1, 22, 0),
         "--branchable": (1, 30, 0)}
HELP = """
  -n, --name <NAME>
      --label <KEY=VALUE>
  -I, --image <IMAGE>
      --cpus <N>
      --mem <MiB>
  -v, --volume <HOST:GUEST[:ro]>
      --mount-socket <HOST_PATH:GUEST_PATH>
  -u, --user <USER>
      --stop-on-exit
"""
OTHER_HELP = {
    "start": "  -n, --name <NAME>\n      --branchable\n",
    "branch": "      --from <NAME>\n  -n, --name <NAME>\n      --label <KEY=VALUE>\n      --freeze-source\n      --no-wait-ready\n",
}


def behaviour():
    with open(os.path.join(HERE, "behaviour.json")) as file:
        return json.load(file)


def fail(message, code=1):
    print("Error: " + message, file=sys.stderr)
    sys.exit(code)


def database(state):
    folder = os.path.join(state, ".local/share/smolvm/server")
    os.makedirs(folder, exist_ok=True)
    base = sqlite3.connect(os.path.join(folder, "smolvm.db"))
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("CREATE TABLE IF NOT EXISTS vms (name TEXT PRIMARY KEY NOT NULL, data BLOB NOT NULL)")
    return base


def load(state, name):
    row = database(state).execute("SELECT data FROM vms WHERE name = ?", (name,)).fetchone()
    if row is None:
        fail(f"config operation failed: machine status: machine '{name}' not found")
    return json.loads(row[0])


def store(state, record):
    base = database(state)
    base.execute("INSERT OR REPLACE INTO vms VALUES (?, ?)", (record["name"], json.dumps(record).encode()))
    base.commit()
    # As a program that is killed leaves it: what was written is in the log beside the file.


def parse(arguments):
    """Flags with their values, in order; and what comes after `--`."""
    flags = []
    switches = {"--stop-on-exit", "--json", "--net", "--force", "--branchable", "--freeze-source", "--no-wait-ready"}
    while arguments:
        flag = arguments.pop(0)
        if flag == "--":
            return flags, arguments
        flags.append((flag, True if flag in switches else arguments.pop(0)))
    return flags, []


def unknown(how):
    """Flags that the version which is played does not know are usage errors, as with the real one."""
    try:
        version = tuple(int(part) for part in how.get("version", "1.32.2").split("."))
    except ValueError:
        version = (0,)
    return {flag for flag, since in SINCE.items() if version < since} | set(how.get("knows no", []))


def create(state, arguments, how):
    flags, command = parse(arguments)
    for flag, _ in flags:
        if flag in unknown(how):
            fail(f"unexpected argument '{flag}' found", 2)
    one = lambda name: next((value for flag, value in flags if flag == name), None)
    every = lambda name: [value for flag, value in flags if flag == name]
    name = one("--name")
    if how.get("create") == "exists" or database(state).execute("SELECT 1 FROM vms WHERE name = ?", (name,)).fetchone():
        fail(f"config operation failed: create machine: machine '{name}' already exists or is being created")
    mounts = []
    for volume in every("--volume"):
        parts = volume.split(":")
        mounts.append([parts[0], parts[1], parts[2:] == ["ro"]])
    sockets = [dict(zip(("host_path", "guest_path"), it.split(":")), direction="mount") for it in every("--mount-socket")]
    record = {
        "name": name, "created_at": int(time.time()), "state": "created", "pid": None,
        "cpus": int(one("--cpus")), "mem": int(one("--mem")), "block_io": "sync", "mounts": mounts,
        "staged_mounts": [], "ports": [], "published_sockets": sockets, "network": False, "gpu": None,
        "init": [], "env": [], "workdir": None, "user": one("--user"), "image": "local-dir:" + one("--image"),
        "entrypoint": [], "cmd": command, "labels": dict(it.split("=", 1) for it in every("--label")),
        "ssh_agent": False, "cuda": False, "stop_on_exit": bool(one("--stop-on-exit")), "docker_socket": False,
    }
    # Older ones have no words for what they do not know.
    for flag, key in {"--label": "labels", "--user": "user", "--stop-on-exit": "stop_on_exit"}.items():
        if flag in unknown(how):
            del record[key]
    record.update(how.get("writes", {}))
    store(state, record)
    print(f"Created machine: {name}")


def folder_of(state, name):
    """By what a machine is called, as the real one does it."""
    return os.path.join(state, ".cache/smolvm/vms", hashlib.sha256(name.encode()).hexdigest()[:16])


def branch(state, arguments, how):
    """A branch has no memory of another machine here: its workload, which waits, begins to wait anew."""
    flags, _ = parse(arguments)
    one = lambda name: next((value for flag, value in flags if flag == name), None)
    source, name = load(state, one("--from")), one("--name")
    if how.get("branch") == "fails":
        fail("agent operation failed: fork clone boot: agent operation failed: rejuvenate clone: identity reset could not "
             "be confirmed after 3 attempts")
    if not source.get("branchable") or not os.path.exists(f"/proc/{source['pid']}"):
        fail(f"agent operation failed: fork: golden '{source['name']}' is not running forkable")
    if database(state).execute("SELECT 1 FROM vms WHERE name = ?", (name,)).fetchone():
        fail(f"config operation failed: create machine: machine '{name}' already exists or is being created")
    record = {**source, "name": name, "pid": None, "golden": source["name"], "labels": {}, "branchable": False}
    for flag, value in flags:
        if flag == "--label":
            key, _, value = value.partition("=")
            record["labels"][key] = value
    record.update(how.get("branch writes", {}))
    store(state, record)
    start(state, name, how)


def delete(state, name):
    record = load(state, name)
    branches = [row for row in database(state).execute("SELECT data FROM vms") if json.loads(row[0]).get("golden") == name]
    if branches:
        fail(f"agent operation failed: delete: machine '{name}' is the fork base for {len(branches)} clone(s)")
    try:
        os.kill(record["pid"] or 0, signal.SIGKILL) if record["pid"] else None
    except ProcessLookupError:
        pass
    subprocess.run(["chmod", "-R", "u+rwX", folder_of(state, name)], check=False)
    subprocess.run(["rm", "-rf", folder_of(state, name)], check=True)
    base = database(state)
    base.execute("DELETE FROM vms WHERE name = ?", (name,))
    base.commit()


def start(state, name, how, branchable=False):
    record = load(state, name)
    folder = folder_of(state, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "name"), "w") as file:
        file.write(name)
    console = os.path.join(folder, "agent-console.log")
    tried = os.path.join(folder, "tried")
    if how.get("boot") == "never" or how.get("boot") == "late" and not os.path.exists(tried):
        open(tried, "w").close()
        with open(console, "w") as log:
            log.write("a kernel that stops\n\x1b[31mhere\n")
        fail("agent operation failed: start machine: agent operation failed: monitor agent: agent did not become ready "
             "within 30 seconds: no boot progress for 30 seconds")
    if how.get("start") == "no kvm":
        fail("agent operation failed: start machine: kvm not available: /dev/kvm does not exist")
    if how.get("start") == "no disk":
        fail("storage operation failed: write disk tail: No space left on device (os error 28)")
    if how.get("start") == "not allowed":
        # As it says it, with its own advice.
        fail("agent operation failed: start machine: kvm permission denied: Cannot access /dev/kvm (permission denied).\n"
             "Add your user to the 'kvm' group:\n\nsudo usermod -aG kvm $USER\n")
    if how.get("start") == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    config = os.path.join(folder, "boot-config.json")
    with open(config, "w") as file:
        json.dump({**record, "ends": how.get("boot") == "ends"}, file)
    if how.get("boot") == "breaks":
        with open(os.path.join(folder, "agent-startup-error.log"), "w") as log:
            log.write("libkrunfw.so.5: \x1b[31mno such library\n")
        fail("agent operation failed: start machine: agent operation failed: monitor agent: boot process exited (code 1) "
             "before the agent was ready")
    pid = os.fork()
    if pid == 0:
        os.setsid()
        log = os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execv("/usr/bin/python3", ["/proc/self/exe", os.path.abspath(__file__), "_boot-vm", config])
    ready = os.path.join(folder, "agent.ready")
    while not os.path.exists(ready):
        if os.waitpid(pid, os.WNOHANG)[0]:
            fail("agent operation failed: start machine: the process exited before the agent was ready")
        time.sleep(0.005)
    record.update(state="running", pid=pid, branchable=branchable)
    store(state, record)


def carry(a, b):
    """Both ways, with each direction's own end."""
    while True:
        data = a.recv(65536)
        if not data:
            break
        b.sendall(data)
    try:
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def lead(listener, host):
    while True:
        inside, _ = listener.accept()
        outside = socket.socket(socket.AF_UNIX)
        try:
            outside.connect(host)
        except OSError:
            inside.close()
            continue
        for pair in ((inside, outside), (outside, inside)):
            threading.Thread(target=quietly, args=pair, daemon=True).start()


def quietly(a, b):
    try:
        carry(a, b)
    except OSError:
        for each in (a, b):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


# Runs as the root of namespaces of its own: $1 is the machine's root, the others are places of host and machine and
# whether they may be written to. $READY is made when the machine is up, which the workload is not yet.
INSIDE = r"""
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/proc" "$root/dev" "$root/old" "$root/sys"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro,nosuid,nodev "$root$2"
    shift 3
done
shift
: >"$READY"
cd "$root"
pivot_root . old
exec chroot . /bin/sh -c 'umount -l /old && exec "$@"' sh "$@"
"""


def boot(config):
    with open(config) as file:
        record = json.load(file)
    folder = os.path.dirname(config)
    root = os.path.join(folder, "root")
    subprocess.run(["cp", "-a", record["image"].removeprefix("local-dir:"), root], check=True)
    subprocess.run(["chmod", "-R", "u+rwX", root], check=True)
    for each in record["published_sockets"]:
        place = root + each["guest_path"]
        os.makedirs(os.path.dirname(place), exist_ok=True)
        os.chdir(os.path.dirname(place))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(os.path.basename(place))
        listener.listen(128)
        threading.Thread(target=lead, args=(listener, each["host_path"]), daemon=True).start()
    os.chdir("/")
    pairs = []
    for host, inside, read_only in record["mounts"]:
        pairs += [host, inside, "ro" if read_only else "rw"]
    namespaces = ["--user", "--map-current-user", "--keep-caps", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]
    command = ["unshare", *namespaces, "--kill-child", "sh", "-c", INSIDE, "sh", root, *pairs, "--", *record["cmd"]]
    if record["ends"]:
        print("a machine that ends at once", flush=True)
        return open(os.path.join(folder, "agent.ready"), "w").close()
    # What is started ends with this process, as a machine does.
    ready = {**os.environ, "READY": os.path.join(folder, "agent.ready")}
    workload = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], env=ready)
    workload.wait()
    if not record.get("stop_on_exit"):
        # The machine is there without it.
        threading.Event().wait()


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["_boot-vm"]:
        return boot(arguments[1])
    how = behaviour()
    with open(os.path.join(HERE, "calls"), "a") as calls:
        calls.write(json.dumps({"arguments": arguments, "environment": dict(os.environ)}) + "\n")
    if arguments == ["--version"]:
        return print("smolvm " + how.get("version", "1.32.2"))
    if arguments == ["machine", "create", "--help"]:
        dropped = unknown(how)
        return print("\n".join(line for line in HELP.splitlines() if not any(flag in line.split() for flag in dropped)))
    if arguments[2:] == ["--help"] and arguments[1] in OTHER_HELP:
        if arguments[1] == "branch" and "--branchable" in unknown(how):
            fail("unrecognized subcommand 'branch'", 2)
        dropped = unknown(how)
        return print("\n".join(line for line in OTHER_HELP[arguments[1]].splitlines()
                               if not any(flag in line.split() for flag in dropped)))
    state, verb, rest = os.environ["HOME"], arguments[1], arguments[2:]
    name = rest[rest.index("--name") + 1]
    if verb == "create":
        create(state, rest, how)
    elif verb == "start":
        start(state, name, how, "--branchable" in rest)
    elif verb == "branch":
        branch(state, rest, how)
    elif verb == "delete":
        delete(state, name)
    elif verb == "status":
        record = load(state, name)
        print(json.dumps({"name": name, "state": record["state"], "pid": record["pid"]}))
    else:
        fail(f"unrecognized subcommand '{verb}'", 2)


main()
