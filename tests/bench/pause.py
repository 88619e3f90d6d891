#!/usr/bin/python3
"""How long qhang and gdb stop a QEMU, seen from outside, side by side.

SPDX-License-Identifier: GPL-2.0-or-later

A sampler reads the state of every thread from /proc as fast as it can while
the tools take turns on one and the same hung storage daemon.  A stop is the
time in which a thread is seen in state `t`.  Sampling sees it from inside
only, so for qhang the samples before and after are counted in, for gdb they
are not: the ratio is never better than the truth.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/lab")]

# pylint: disable=wrong-import-position
import build as lab_build
from labapt import LabError, SourceMissing
from forced import forced
from labqhang import qhang_program
from race import HANG, WAKE_BEFORE_ARM

RESULTS = CHECKOUT / "tests/bench/results"
WANTED_RATIO = 100.0
ROUNDS = 7
SAMPLER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Stop:
    """The longest stop of any thread during one run, in nanoseconds."""

    seen_ns: int
    at_most_ns: int
    sampling_ns: int


def open_states(pid: int) -> list[int]:
    """One descriptor of each thread's stat file."""
    return [os.open(f"/proc/{pid}/task/{tid}/stat", os.O_RDONLY)
            for tid in os.listdir(f"/proc/{pid}/task")]


def is_stopped(descriptor: int) -> bool:
    """Whether a thread is in a ptrace stop right now.

    One that has ended is not: QEMU's idle pool workers end by themselves.
    """
    try:
        line = os.pread(descriptor, 512, 0)
    except ProcessLookupError:
        return False
    return line[line.rindex(b")") + 2:][:1] == b"t"


def sample(pid: int, ready: Event, finish: Event, results: Any) -> None:
    """Samples until told to finish; puts a Stop into `results`."""
    threads = open_states(pid)
    clear_ns = [0] * len(threads)
    first_ns = [0] * len(threads)
    last_ns = [0] * len(threads)
    seen = at_most = passes = 0
    started = time.monotonic_ns()
    for index in range(len(threads)):
        clear_ns[index] = started
    ready.set()
    while not finish.is_set():
        passes += 1
        for index, descriptor in enumerate(threads):
            stopped = is_stopped(descriptor)
            now = time.monotonic_ns()
            if stopped:
                first_ns[index] = first_ns[index] or now
                last_ns[index] = now
                continue
            if first_ns[index]:
                seen = max(seen, last_ns[index] - first_ns[index])
                at_most = max(at_most, now - clear_ns[index])
                first_ns[index] = 0
            clear_ns[index] = now
    took = time.monotonic_ns() - started
    results.put(Stop(seen, at_most, took // max(passes, 1)))


def measure(pid: int, argv: list[str]) -> tuple[Stop, float]:
    """Runs a tool under the sampler; its longest stop and its seconds."""
    ready, finish = multiprocessing.Event(), multiprocessing.Event()
    results: Any = multiprocessing.Queue()
    sampler = multiprocessing.Process(
        target=sample, args=(pid, ready, finish, results), daemon=True)
    sampler.start()
    if not ready.wait(SAMPLER_TIMEOUT_S):
        raise LabError(f"no sampler could be started on {pid}")
    started = time.monotonic()
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = time.monotonic() - started
    finish.set()
    stop = results.get(timeout=SAMPLER_TIMEOUT_S)
    sampler.join()
    if not done.stdout:
        raise LabError(f"{' '.join(argv)} printed nothing, status "
                       f"{done.returncode}")
    return stop, took


def reported_pause_ns(pid: int) -> int:
    """What qhang itself says about its longest stop."""
    done = subprocess.run([qhang_program(), "diagnose", "--json", str(pid)],
                          check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE)
    return int(json.loads(done.stdout)["pause_ns"])


def compare(pid: int, rounds: int) -> dict[str, Any]:
    """Takes turns and adds up; times in milliseconds."""
    tools = {
        "qhang": [str(qhang_program()), "diagnose", str(pid)],
        "gdb": ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off",
                "-p", str(pid), "-ex", "thread apply all bt"],
    }
    runs: dict[str, list[tuple[Stop, float]]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, argv in tools.items():
            runs[name].append(measure(pid, argv))
    qhang_ms = max(stop.at_most_ns for stop, _ in runs["qhang"]) / 1e6
    gdb_ms = max(stop.seen_ns for stop, _ in runs["gdb"]) / 1e6
    found: dict[str, Any] = {"rounds": rounds}
    for name, told in runs.items():
        found[name] = {
            "longest_seen_ms": max(s.seen_ns for s, _ in told) / 1e6,
            "longest_at_most_ms": max(s.at_most_ns for s, _ in told) / 1e6,
            "median_seen_ms":
                statistics.median(s.seen_ns for s, _ in told) / 1e6,
            "whole_run_median_s": statistics.median(t for _, t in told),
            "sampling_us":
                statistics.median(s.sampling_ns for s, _ in told) / 1e3,
        }
    found["qhang"]["reported_ms"] = reported_pause_ns(pid) / 1e6
    found["ratio"] = gdb_ms / qhang_ms
    return found


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| tool | longest stop, ms | at most, ms | median, ms "
             "| whole run, s |", "|---|---|---|---|---|"]
    for name, title in (("qhang", "qhang diagnose"),
                        ("gdb", "gdb thread apply all bt")):
        row = found[name]
        lines.append(f"| {title} | {row['longest_seen_ms']:.3f} "
                     f"| {row['longest_at_most_ms']:.3f} "
                     f"| {row['median_seen_ms']:.3f} "
                     f"| {row['whole_run_median_s']:.3f} |")
    lines.append("")
    lines.append(f"gdb's longest stop is {found['ratio']:.0f} times qhang's "
                 f"(wanted: {WANTED_RATIO:.0f}); qhang itself reported "
                 f"{found['qhang']['reported_ms']:.3f} ms; a look at every "
                 f"thread took {found['qhang']['sampling_us']:.0f} us; "
                 f"{found['rounds']} rounds.")
    return "\n".join(lines)


def main() -> int:
    """Command line: 0 ratio reached, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Measures the longest stop of a hung storage daemon "
                    "under qhang diagnose and under gdb, in one run.",
        epilog="example: tests/bench/pause.py --rounds 5")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--pid", type=int,
                        help="take this process, not one of the lab")
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    args = parser.parse_args()
    try:
        if args.pid:
            found = compare(args.pid, args.rounds)
        else:
            lab_build.ensure(["graphfix"])
            with forced("graphfix", WAKE_BEFORE_ARM) as (qemu, outcome):
                assert outcome == HANG, outcome
                found = compare(qemu.pid, args.rounds)
    except SourceMissing as missing:
        print(f"pause.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, OSError) as error:
        print(f"pause.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(table(found))
    if args.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "pause.json").write_text(json.dumps(found, indent=1)
                                            + "\n")
        (RESULTS / "pause.md").write_text(
            "# Longest stop of a hung storage daemon\n\n" + table(found)
            + "\n")
    return 0 if found["ratio"] >= WANTED_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
