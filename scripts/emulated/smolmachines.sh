#!/usr/bin/env bash
# Runs in the emulated machine: bottles as machines of their own, by the real smolvm.
#
#   scripts/emulated-machine --nested scripts/emulated/smolmachines.sh SMOLVM COMMAND...
#
# SMOLVM is the directory of the one that is meant, in the cache of the tests.
# COMMAND is what starts such bottles: the executable with the tests of the program, or xtask's escape suite.
set -euo pipefail

which="$1"
shift

cache="${BOT_BOTTLE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/bot-bottle-tests}"
# Machines want a disk that is one.
mkdir -p /data/tmp /data/smolvm && chmod 1777 /data/tmp
# A source tree that lies there stays to be seen.
case "$PWD" in /tmp/*) mkdir -p "/data$PWD" && mount --bind "$PWD" "/data$PWD" ;; esac
mount --rbind /data/tmp /tmp
# Where ordinary users may go, too.
# An address besides the loopback's, and the one that smolvm gives a host whose machine has a network: for canaries.
ip link add canary type dummy
ip address add 10.0.2.15/24 dev canary
ip address add 100.96.0.1/24 dev canary
ip link set canary up
cp -r "$cache/$which/." /data/smolvm/
chmod 755 /data /data/smolvm
# A machine in an emulated one hangs in its boot once in a while. smolvm would wait 30 s for it, which are ten minutes out
# here; a good boot takes three. The second try is the product's own.
mv /data/smolvm/smolvm /data/smolvm/smolvm-itself
cat >/data/smolvm/smolvm <<'PROGRAM'
#!/bin/sh
export SMOLVM_AGENT_READY_TIMEOUT_SECS=12
exec /data/smolvm/smolvm-itself "$@"
PROGRAM
chmod 755 /data/smolvm/smolvm
export BOT_BOTTLE_TEST_SMOLVM=/data/smolvm/smolvm
exec "$@"
