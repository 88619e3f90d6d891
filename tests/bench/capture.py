#!/usr/bin/python3
"""What qhang capture and gcore cost of the same processes, side by side.

SPDX-License-Identifier: GPL-2.0-or-later

The tools take turns on a hung storage daemon, a system emulator with a booted
guest, and victims with many coroutines.  The stop is seen from outside (see
stops.py); for qhang, whose stops a sampler without a CPU may miss, it is what
was seen, samples before and after counted in, or what qhang says itself,
whichever is longer.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Iterator

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/lab")]

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from forced import forced
from labapt import LabError, SourceMissing
from labqhang import qhang_program
from pattern_guest import pattern_guest
from race import HANG, WAKE_BEFORE_ARM
from stops import MeasureError, measure

ROUNDS = 2
DAEMON_BYTES, DAEMON_PAUSE_MS = 5_000_000, 50.0
# gcore writes the whole stacks, 1 MiB each: ten thousand are left to qhang.
MOST_FOR_GCORE = 1000
DAEMON = "storage daemon, hung"


@contextmanager
def victim(coroutines: int) -> Iterator[int]:
    """The pid of a victim with so many coroutines parked."""
    program = qhang_program().parents[1] / "tests/victims/victim"
    with subprocess.Popen([program, "--scenario", "wake-lost", "--coroutines",
                           str(coroutines)], stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE) as child:
        assert child.stdout
        line = child.stdout.readline()
        assert line.startswith("ready "), line
        try:
            yield int(line.split()[1])
        finally:
            child.kill()


def run_once(pid: int, tool: str, folder: Path) -> dict[str, float]:
    """One file of one tool, which is looked at and taken away."""
    core = folder / f"core.{pid}"
    argv = {"qhang": [str(qhang_program()), "capture", str(pid), "-o",
                      str(core)],
            "gcore": ["gcore", "-o", str(folder / "core"), str(pid)]}[tool]
    stop, took_s = measure(pid, argv, 0)
    size = core.stat().st_size
    seen = stop.seen_ns
    if tool == "qhang":
        told = re.search(rb'"pause_ns":(\d+)', core.read_bytes())
        assert told
        seen = max(stop.at_most_ns, int(told[1]))
    core.unlink()
    return {"bytes": size, "stop_ms": seen / 1e6, "took_s": took_s}


def compare(pid: int, rounds: int, gcore: bool) -> dict[str, Any]:
    """Takes turns; the largest file, the longest stop, the median run."""
    tools = ["qhang"] + ["gcore"] * gcore
    runs: dict[str, list[dict[str, float]]] = {tool: [] for tool in tools}
    with tempfile.TemporaryDirectory(dir=CHECKOUT) as folder:
        for _ in range(rounds):
            for tool in tools:
                runs[tool].append(run_once(pid, tool, Path(folder)))
    return {tool: {
        "bytes": max(run["bytes"] for run in told),
        "longest_stop_ms": max(run["stop_ms"] for run in told),
        "median_stop_ms": statistics.median(run["stop_ms"] for run in told),
        "median_s": statistics.median(run["took_s"] for run in told),
    } for tool, told in runs.items()}


def measure_all(rounds: int) -> dict[str, Any]:
    """All four processes."""
    found: dict[str, Any] = {"rounds": rounds, "rows": {}}
    rows = found["rows"]
    lab = lab_build.ensure(["graphfix", "system"])
    with forced("graphfix", WAKE_BEFORE_ARM) as (qemu, outcome):
        assert outcome == HANG, outcome
        rows[DAEMON] = compare(qemu.pid, rounds, True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pid = stack.enter_context(pattern_guest(
            lab / "bin/graphfix/qemu-system-x86_64", folder, ["-m", "256"]))
        rows["qemu-system-x86_64, 256 MiB guest"] = compare(pid, rounds, True)
    for count in (1000, 10000):
        with victim(count) as pid:
            rows[f"victim, {count:,} coroutines"] = compare(
                pid, rounds, count <= MOST_FOR_GCORE)
    return found


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = []
    for what, tools in found["rows"].items():
        for tool, row in tools.items():
            rows.append([what, tool, f"{row['bytes'] / 1e6:.1f}",
                         f"{row['longest_stop_ms']:.1f}",
                         f"{row['median_stop_ms']:.1f}",
                         f"{row['median_s']:.2f}"])
    text = columns(["process", "tool", "file, MB", "longest stop, ms",
                    "median, ms", "whole run, s"], rows)
    return (f"{text}\n\nWanted of the storage daemon: under "
            f"{DAEMON_BYTES / 1e6:.0f} MB and {DAEMON_PAUSE_MS:.0f} ms. "
            f"{found['rounds']} round{'s' * (found['rounds'] > 1)} in turns.  "
            "gcore is not asked for the "
            "10,000: it writes the whole stacks, 1 MiB each.")


def reached(found: dict[str, Any]) -> bool:
    """Whether the storage daemon's file and stop are as wanted."""
    row = found["rows"][DAEMON]["qhang"]
    return (row["bytes"] < DAEMON_BYTES
            and row["longest_stop_ms"] < DAEMON_PAUSE_MS)


def main() -> int:
    """Command line: 0 as wanted, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Measures size, stop and time of qhang capture and of "
                    "gcore, in one run.",
        epilog="example: tests/bench/capture.py --rounds 1")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    args = parser.parse_args()
    try:
        found = measure_all(args.rounds)
    except SourceMissing as missing:
        print(f"capture.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, MeasureError, OSError) as error:
        print(f"capture.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(table(found))
    if args.save:
        keep("capture", "qhang capture and gcore", found, table(found))
    return 0 if reached(found) else 1


if __name__ == "__main__":
    sys.exit(main())
