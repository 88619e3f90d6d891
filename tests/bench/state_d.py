#!/usr/bin/python3
"""Whether a thread in state D prolongs the stop of the others.

SPDX-License-Identifier: GPL-2.0-or-later

Two victims, hung alike and with as many threads, are diagnosed in turns; in
one of them a thread is the parent of a vfork child and sleeps in state D,
where no stop reaches it.  The stops are seen from outside (see stops.py), and
as qhang itself reports them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
sys.path[:0] = [str(CHECKOUT / "tests/lab")]

# pylint: disable=wrong-import-position
from figures import columns, keep
from labqhang import EXIT_FINDING, diagnose_pid, qhang_program
from realtime import OPTION_HELP, prefer
from stops import MeasureError, measure

SOURCE = HERE / "vfork_parent.c"
ROUNDS = 40
# A median is worth more than a maximum, which one late wake-up decides.
MOST_MEDIAN_RATIO, MOST_MAXIMUM_RATIO = 1.2, 2.0
READY_S = 30.0
VFORK = {"without": "0", "with": "1"}
FIGURES = ("seen_median_ms", "seen_longest_ms", "reported_median_ms",
           "reported_longest_ms")


def states(pid: int) -> list[str]:
    """The state letters of the threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return [task.read_bytes().rsplit(b")", 1)[1].split()[0].decode()
            for task in tasks]


def tracers(pid: int) -> set[str]:
    """The tracers of the threads; {"0"} when there is none."""
    tasks = Path(f"/proc/{pid}/task").glob("*/status")
    return {task.read_text(errors="replace").split("TracerPid:")[1].split()[0]
            for task in tasks}


def wait_for(holds: Any, what: str) -> None:
    """Looks until it holds; MeasureError when it does not come to that."""
    end = time.monotonic() + READY_S
    while not holds():
        if time.monotonic() > end:
            raise MeasureError(f"not within {READY_S} s: {what}")
        time.sleep(0.005)


@contextmanager
def victim(preload: Path, case: str) -> Iterator[int]:
    """A hung victim with one thread more; its pid."""
    program = qhang_program().parents[1] / "tests/victims/victim"
    env = {**os.environ, "LD_PRELOAD": str(preload),
           "VFORK_PARENT": VFORK[case]}
    with subprocess.Popen([program, "--scenario", "wake-lost"], env=env,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as child:
        try:
            assert child.stdout
            line = child.stdout.readline()
            if not line.startswith("ready "):
                raise MeasureError(f"the victim is not ready: {line}")
            wanted = case == "with"
            wait_for(lambda: ("D" in states(child.pid)) == wanted
                     and "R" not in states(child.pid), "its threads sleep")
            yield child.pid
        finally:
            child.kill()


@dataclass
class Case:
    """A victim and what was measured on it, in milliseconds."""

    name: str
    pid: int
    seen: list[float] = field(default_factory=list)
    reported: list[float] = field(default_factory=list)
    missed: int = 0

    def look(self) -> None:
        """Two diagnoses: one seen from outside, and what one reports.

        A stop that the sampler has slept through is counted and left out.
        The process is left as it was.
        """
        before = sorted(states(self.pid))
        argv = [str(qhang_program()), "diagnose", str(self.pid)]
        stop, _ = measure(self.pid, argv, EXIT_FINDING)
        if stop.likely_ns:
            self.seen.append(stop.likely_ns / 1e6)
        else:
            self.missed += 1
        got = diagnose_pid(self.pid)
        self.reported.append(got.report["pause_ns"] / 1e6)
        wait_for(lambda: sorted(states(self.pid)) == before
                 and tracers(self.pid) == {"0"},
                 f"{self.name} a vfork parent: left as it was")

    def told(self) -> dict[str, Any]:
        """The figures."""
        if not self.seen:
            raise MeasureError("not one stop was seen from outside")
        return {"seen_median_ms": statistics.median(self.seen),
                "seen_longest_ms": max(self.seen), "missed": self.missed,
                "reported_median_ms": statistics.median(self.reported),
                "reported_longest_ms": max(self.reported)}


def compare(rounds: int) -> dict[str, Any]:
    """Takes turns; times in milliseconds, and the ratios with to without."""
    with tempfile.TemporaryDirectory() as folder:
        preload = Path(folder) / "vfork_parent.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-pthread", "-o",
                        preload, SOURCE], check=True)
        with victim(preload, "without") as without, \
                victim(preload, "with") as held:
            if len(states(without)) != len(states(held)):
                raise MeasureError("not as many threads")
            cases = [Case("without", without), Case("with", held)]
            for turn in range(rounds):
                for case in cases[::-1 if turn % 2 else 1]:
                    case.look()
            threads = len(states(held))
    found: dict[str, Any] = {"rounds": rounds, "threads": threads}
    found.update((case.name, case.told()) for case in cases)
    found["ratios"] = {figure[:-len("_ms")]:
                       found["with"][figure] / found["without"][figure]
                       for figure in FIGURES}
    return found


def good(found: dict[str, Any]) -> bool:
    """Whether the thread in state D costs the others nothing."""
    return all(ratio <= (MOST_MEDIAN_RATIO if "median" in name
                         else MOST_MAXIMUM_RATIO)
               for name, ratio in found["ratios"].items())


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [[f"{case} a vfork parent",
             *(f"{found[case][figure]:.3f}" for figure in FIGURES)]
            for case in VFORK]
    rows.append(["with over without",
                 *(f"{ratio:.2f}" for ratio in found["ratios"].values())])
    text = columns(["victim", "stop seen, median, ms", "longest, ms",
                    "reported, median, ms", "longest, ms"], rows)
    return (f"{text}\n\nWanted: medians not above {MOST_MEDIAN_RATIO} times, "
            f"longest not above {MOST_MAXIMUM_RATIO} times those without. "
            f"{found['threads']} threads, {found['rounds']} rounds; the "
            f"sampler slept through {found['without']['missed']} stops "
            f"without and {found['with']['missed']} with.")


def main() -> int:
    """Command line: 0 no longer, 1 longer, or it could not be measured."""
    parser = argparse.ArgumentParser(
        description="Measures the stop of a victim with and without a thread "
                    "in state D.",
        epilog="example: tests/bench/state_d.py --rounds 10")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    parser.add_argument("--fifo", action="store_true", help=OPTION_HELP)
    args = parser.parse_args()
    try:
        if args.fifo:
            prefer(os.getpid())
        found = compare(args.rounds)
    except (MeasureError, OSError) as error:
        print(f"state_d.py: {error}", file=sys.stderr)
        return 1
    print(table(found))
    if args.save:
        keep("state_d", "The stop beside a thread in state D",
             {**found, "fifo": args.fifo}, table(found))
    return 0 if good(found) else 1


if __name__ == "__main__":
    sys.exit(main())
