#!/usr/bin/env bash
# Runs in the emulated machine: limits by cgroup v2, as root and as an ordinary user with a delegated cgroup.
#
#   scripts/emulated-machine scripts/emulated/cgroup2.sh PATH_OF_BOT_BOTTLE
#
# The control is the same memory eater without a limit, which must live.
set -uo pipefail

program="$1"
groups=/sys/fs/cgroup
user=4321
failed=0

check() {
    local what="$1"
    shift
    if "$@"; then echo "ok      $what"; else echo "FAILED  $what"; failed=1; fi
}

# Keeps 96 MiB in memory and says so.
eater='import sys; data = bytearray(b"x" * (96 << 20)); print("ate", len(data))'
reader='import os; print("inside")'

bottle() {
    # shellcheck disable=SC2086 # $as is a command and its arguments
    (cd / && $as env HOME="$home" XDG_STATE_HOME="$home/state" XDG_RUNTIME_DIR="$home/run" "$program" run "$@" 2>&1)
}

limits_hold() {
    local out
    out="$(bottle -- /usr/bin/python3 -c "$eater")"
    check "$who: control: without a limit the eater lives ($out)" grep -q 'ate 100663296' <<<"$out"
    out="$(bottle --limit memory=64MiB -- /usr/bin/python3 -c "$eater")"
    check "$who: memory=64MiB ends the eater" test "$(grep -c ate <<<"$out")" = 0
    out="$(bottle --limit memory=64MiB --limit cpus=0.5 --limit pids=40 --dry-run -- /usr/bin/python3 -c "$reader")"
    check "$who: the preflight has nothing to warn of" test "$(grep -c 'cannot be enforced' <<<"$out")" = 0
    bottle --limit memory=64MiB --limit cpus=0.5 --limit pids=40 --keep --detach -- /bin/sh -c 'sleep 600' >"$home/slug"
    local slug group
    slug="$(tail -n 1 "$home/slug")"
    group="$(find "$groups" -type d -name "bot-bottle-$slug")"
    check "$who: $slug has a cgroup of its own" test -n "$group"
    check "$who: memory.max" test "$(cat "$group/memory.max")" = 67108864
    check "$who: cpu.max" test "$(cat "$group/cpu.max")" = '50000 100000'
    check "$who: pids.max" test "$(cat "$group/pids.max")" = 40
    check "$who: its processes are in it" test "$(wc -l <"$group/cgroup.procs")" -ge 2
    # shellcheck disable=SC2086
    $as env HOME="$home" XDG_STATE_HOME="$home/state" XDG_RUNTIME_DIR="$home/run" "$program" stop "$slug" >/dev/null 2>&1
    check "$who: the cgroup goes with the bottle" test -z "$(find "$groups" -type d -name 'bot-bottle-*')"
}

uname -r
who=root as="" home=/run/root-home
mkdir -p "$home/run" && chmod 700 "$home/run"
limits_hold

# As systemd does it: a group that is the user's, with the processes in a leaf of it.
for controller in cpu memory pids; do echo "+$controller" >"$groups/cgroup.subtree_control"; done
mkdir -p "$groups/user/session"
for controller in cpu memory pids; do echo "+$controller" >"$groups/user/cgroup.subtree_control"; done
chown -R "$user:$user" "$groups/user"
echo $$ >"$groups/user/session/cgroup.procs"
who="ordinary user" as="setpriv --reuid $user --regid $user --clear-groups" home=/run/user-home
mkdir -p "$home/run" && chmod 700 "$home/run" && chown -R "$user:$user" "$home"
limits_hold

# Control: where nothing is delegated the preflight says so.
chown -R root:root "$groups/user"
out="$(bottle --limit memory=64MiB --dry-run -- /bin/true)"
check "ordinary user: without delegation the preflight warns" grep -q 'limits.memory cannot be enforced' <<<"$out"
exit "$failed"
