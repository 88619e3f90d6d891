#!/bin/sh
# Installs what is missing, builds qhang, runs its tests and counts them.
# SPDX-License-Identifier: GPL-2.0-or-later
set -u

usage() {
    cat <<'END'
usage: sh tests/run.sh [--lab[=full]] [--sanitize] [--valgrind]

Builds qhang into build/ (or $QHANG_BUILD) with warnings as errors and runs the
suites unit, fuzz, victim and cli.  The last line is "N passed, N failed, N
skipped"; the exit status is 0 when nothing failed.

  --lab        also build the lab's three QEMUs and hang each kind once;
               takes 50 minutes at the very most
  --lab=full   also run the lab's counts, which takes hours
  --sanitize   also run the suites unit, fuzz and victim under ASan and UBSan
  --valgrind   also run the suite unit and qhang itself under valgrind
END
}

lab=no sanitize=no valgrind=no
for arg in "$@"; do
    case $arg in
        --lab) lab=once ;;
        --lab=full) lab=full ;;
        --sanitize) sanitize=yes ;;
        --valgrind) valgrind=yes ;;
        --help) usage; exit 0 ;;
        *) usage >&2; exit 64 ;;
    esac
done

cd "$(dirname "$0")/.." || exit 1
python=/usr/bin/python3
build=${QHANG_BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
LC_ALL=C.UTF-8
QHANG_BUILD=$build
QHANG_RESULTS=$build-results
export LC_ALL QHANG_BUILD QHANG_RESULTS
rm -rf "$QHANG_RESULTS" && mkdir -p "$QHANG_RESULTS" || exit 1
lab_ends=$(($(date +%s) + 3000))

say() { echo "== $*"; }

record() { "$python" "$PWD/tests/record.py" "$@"; }

# step NAME COMMAND ...: counts as a failed test when it fails.
step() {
    name=$1
    shift
    say "$name"
    record --kind step --live --name "$name" -- "$@"
}

finish() {
    say "results"
    exec "$python" tests/tally.py "$QHANG_RESULTS"
}

install_packages() {
    set -- tests/packages.txt tests/packages-suites.txt
    [ $lab = no ] || set -- "$@" tests/lab/packages.txt
    [ $valgrind = no ] || set -- "$@" valgrind
    # Python itself may be missing yet, so this one is not recorded.
    sh tests/setup.sh "$@" && return
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
}

# configure FOLDER OPTION ...: one that stands is looked over again, for what
# it was set up without may have been installed since.
configure() {
    folder=$1
    shift
    [ ! -f "$folder/build.ninja" ] || set -- --reconfigure "$@"
    step "configure ${folder##*/}" \
        meson setup "$folder" -Dwerror=true "$@"
}

build() {
    configure "$@" || return
    step "build ${1##*/}" meson compile -C "$1"
}

# suite NAME OPTION|TEST ...: runs one of meson's suites in $QHANG_BUILD.
suite() {
    suite=$1
    shift
    say "suite $suite in ${QHANG_BUILD##*/}"
    record --kind suite --live --name "suite $suite" -- \
        meson test -C "$QHANG_BUILD" --no-rebuild --suite "$suite" \
        --wrapper "$python $PWD/tests/record.py --" "$@"
}

# lab_time: the seconds that are left of --lab's forty minutes.
lab_time() {
    left=$((lab_ends - $(date +%s)))
    echo $((left > 1 ? left : 1))
}

run_lab() {
    say "the lab's QEMUs"
    record --kind step --live --name "the lab's QEMUs" \
        --limit "$(lab_time)" -- "$python" tests/lab/build.py || return
    suite lab
    say "lab: natural and forced hangs"
    record --live --name lab --limit "$(lab_time)" -- \
        "$python" -m pytest -v tests/lab
    [ $lab = once ] && return
    say "lab: the counts"
    record --live --name "lab, full" -- "$python" tests/lab/full.py
    record --live --name "lab, rounds" -- "$python" tests/lab/rounds.py
    record --live --name "trees" -- "$python" tests/lab/trees.py
}

# What qhang does under a checker: each scenario, live and from a core.  What
# depends on the time that this takes is left out.
checked="(test_live or test_gcore or test_text) and not O0"

run_sanitized() {
    # Not 1, which would be a finding of qhang's.
    export ASAN_OPTIONS=halt_on_error=1:detect_leaks=1:exitcode=99
    export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:exitcode=99
    QHANG_BUILD=$build-sanitize
    if build "$QHANG_BUILD" -Db_sanitize=address,undefined \
            -Db_lundef=false; then
        suite unit -t 5
        suite fuzz -t 5
        suite victim -t 5 victims
        # A core of a victim under ASan would hold its shadow memory.
        export QHANG="$QHANG_BUILD/collector/qhang"
        QHANG_BUILD=$build
        suite victim -t 5 cli-diagnose --test-args="-k '$checked'"
        suite victim -t 5 cli-kick cli-kick-asks cli-kick-doubt \
            cli-kick-log cli-kick-outcome --test-args="-k 'not O0'"
        unset QHANG
    fi
    unset ASAN_OPTIONS UBSAN_OPTIONS
    QHANG_BUILD=$build
}

run_valgrind() {
    export QHANG_UNDER="valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite"
    suite unit -t 20 --no-suite no-valgrind
    suite victim -t 20 cli-diagnose --test-args="-k '$checked and not timer-unserved'"
    unset QHANG_UNDER
}

install_packages
if build "$build"; then
    suite unit
    suite fuzz
    suite victim
    suite cli
    [ $lab = no ] || run_lab
    [ $valgrind = no ] || run_valgrind
    [ $sanitize = no ] || run_sanitized
fi
finish
