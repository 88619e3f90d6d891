#!/bin/sh
# Shows qhang at work without any QEMU: hangs a victim, diagnoses it twice.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The victim is a small program with QEMU's coroutines, timers and sleep
# primitive built in, the fault included.  It brings itself into the hang of
# the qcow2 cache cleaner; qhang then looks at the process and at its core.
# Exits 0 only if both reports say sleep.wake-lost.
set -eu

cd "$(dirname "$0")/.."
build=${QHANG_BUILD:-build}
qhang=$build/collector/qhang
work=$(mktemp -d)
victim=

clean_up() {
    if [ -n "$victim" ]; then
        kill -KILL "$victim" 2>/dev/null || :
        wait "$victim" 2>/dev/null || :
    fi
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n== %s\n' "$*"; }

# quietly WHAT COMMAND ...: shows the command's output only if it fails.
quietly() {
    say "$1"
    shift
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log"
        echo "demo: this failed: $*" >&2
        exit 1
    }
}

# diagnose ARGUMENT ...: shows the report; fails unless it is the lost wake-up.
diagnose() {
    say "qhang diagnose $*"
    status=0
    "$qhang" diagnose "$@" >"$work/report" || status=$?
    cat "$work/report"
    if [ $status != 1 ] || ! grep -q 'sleep\.wake-lost' "$work/report"; then
        echo "demo: expected exit status 1 and sleep.wake-lost," \
            "got exit status $status" >&2
        exit 1
    fi
}

start_victim() {
    say "hanging a victim: its sleeper is woken a moment too early"
    mkfifo "$work/handshake"
    "$build/tests/victims/victim" --scenario wake-lost \
        >"$work/handshake" 2>"$work/victim.log" &
    victim=$!
    exec 3<"$work/handshake"
    ready=$(timeout 30 head -n 1 <&3) || ready=
    case $ready in
        "ready $victim"*) echo "$ready" ;;
        *)
            cat "$work/victim.log"
            echo "demo: the victim did not get ready: $ready" >&2
            exit 1
            ;;
    esac
}

sh tests/setup.sh
if [ ! -f "$build/build.ninja" ]; then
    quietly "setting up $build" meson setup "$build" -Dwerror=true
fi
quietly "building" meson compile -C "$build" \
    collector/qhang:executable tests/victims/victim
start_victim
diagnose "$victim"
quietly "taking a core: gcore $victim" gcore -o "$work/core" "$victim"
diagnose --core "$work/core.$victim" --exe "$build/tests/victims/victim"
say "both reports name the lost wake-up"
