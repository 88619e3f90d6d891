#!/bin/sh
# Looks for inputs that qhang cannot take, and keeps those that reach new code.
# SPDX-License-Identifier: GPL-2.0-or-later
set -eu

if [ $# -ne 2 ]; then
    cat >&2 <<'END_OF_USAGE'
usage: fuzz.sh core|handed|memory|verify SECONDS

Builds with clang, ASan, UBSan and libFuzzer (Debian: libclang-rt-14-dev) into
build-fuzz, and fuzzes for so long. What is found wrong is left there as
NAME-crash-..., NAME-timeout-..., NAME-leak-... or NAME-oom-... (exit status
not 0); what reaches new code is merged into tests/fuzz/corpus/NAME.
END_OF_USAGE
    exit 64
fi
name=$1
seconds=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build-fuzz
corpus=$root/tests/fuzz/corpus/$name

cd "$root"
[ -f "$build/build.ninja" ] || CC=clang meson setup "$build" -Dfuzz=true \
    -Db_sanitize=address,undefined -Db_lundef=false
ninja -C "$build" "tests/fuzz/fuzz_$name" tests/fuzz/fuzz_victim
export FUZZ_VICTIM="$build/tests/fuzz/fuzz_victim"
export ASAN_OPTIONS=malloc_context_size=4:quarantine_size_mb=16
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# How long an input is at most: a program of the corpus has some 7 KB.
case $name in
    verify) longest=8300 ;;
    core) longest=4096 ;;
    *) longest=1000 ;;
esac
found=$build/found-$name
mkdir -p "$found"
cd "$build"
"tests/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len=$longest \
    -timeout=60 -rss_limit_mb=2048 -entropic=0 -print_final_stats=1 \
    -artifact_prefix="$name-" "$found" "$corpus"
"tests/fuzz/fuzz_$name" -merge=1 "$corpus" "$found"
