#!/usr/bin/python3
"""All coroutines of a process: qhang beside gdb with QEMU's own script.

SPDX-License-Identifier: GPL-2.0-or-later

The victim parks coroutines in four ways.  qhang finds them itself; gdb, whose
`qemu coroutine` takes one address at a time, is given the addresses, and only
walks.  QEMU's script is run where the lab's source of QEMU lies.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Optional

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/lab")]

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from realtime import OPTION_HELP, prefer
from stops import MeasureError, Stop, measure

BUILD = Path(os.environ.get("QHANG_BUILD") or CHECKOUT / "build").absolute()
QHANG = Path(os.environ.get("QHANG") or BUILD / "collector/qhang").absolute()
VICTIM = BUILD / "tests/victims/victim"
WANTED_RATIO = 20.0
# The most that a stop may last, in ms, by the number of coroutines.
WANTED_PAUSE_MS = {1000: 10.0, 10000: 60.0}
GDB_COUNTS = (100, 1000)
COUNTS = (100, 1000, 10000)
ROUNDS = 7
READY_LIMIT_S = 120


@contextmanager
def victim(count: int) -> Iterator[tuple[int, int]]:
    """A victim with so many coroutines parked: its pid, and how many are in
    use in all, by its own count."""
    argv = [str(VICTIM), "--scenario", "idle", "--coroutines", str(count)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE) as child:
        assert child.stdout
        try:
            words = child.stdout.readline().split()
            if not words or words[0] != "ready":
                raise MeasureError(f"{' '.join(argv)}: not ready")
            yield int(words[1]), int(words[2].partition("=")[2])
        finally:
            child.kill()


def qemu_script() -> Optional[Path]:
    """QEMU's scripts/qemu-gdb.py in the lab; None where there is no lab."""
    found = sorted(lab_build.lab_folder().glob("src/qemu-*/scripts/qemu-gdb.py"))
    return found[-1] if found else None


def told_by_qhang(pid: int) -> dict[str, Any]:
    """Its JSON report."""
    done = subprocess.run([QHANG, "coroutines", "--json", str(pid)],
                          check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE)
    told = json.loads(done.stdout) if done.stdout else {}
    if done.returncode:
        raise MeasureError(f"qhang coroutines: status {done.returncode}: "
                           f"{told.get('incomplete')}")
    return told


def gdb_argv(pid: int, script: Path, addresses: list[str],
             commands: Path) -> list[str]:
    """gdb that shows the coroutines at these addresses one by one."""
    lines = [f"source {script}",
             *(f"qemu coroutine (void*){at}" for at in addresses)]
    commands.write_text("\n".join(lines) + "\n")
    return ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off",
            "-p", str(pid), "-x", str(commands)]


def cost(argv: list[str]) -> tuple[float, int, str]:
    """CPU seconds of a run, the most memory that it has resident in KiB, and
    what it prints."""
    with open(os.devnull, "r+b") as null, \
            tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(  # pylint: disable=consider-using-with
            argv, stdin=null, stdout=output, stderr=null)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return (usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
                output.read())


def figures_of(runs: list[tuple[Stop, float]],
               costs: tuple[float, int, str]) -> dict[str, float]:
    """Medians of the runs; times in ms, but the whole run in s."""
    return {
        "whole_run_s": statistics.median(took for _, took in runs),
        "pause_ms": statistics.median(s.seen_ns for s, _ in runs) / 1e6,
        "longest_pause_ms": max(s.seen_ns for s, _ in runs) / 1e6,
        "cpu_s": costs[0],
        "peak_mib": costs[1] / 1024,
    }


def look(count: int, rounds: int, script: Optional[Path],
         folder: Path) -> dict[str, Any]:
    """Both tools, in turns, on one victim; `missing` is how many coroutines
    qhang does not show, or not down to their entry."""
    with victim(count) as (pid, in_use):
        qhang = [str(QHANG), "coroutines", str(pid)]
        told = told_by_qhang(pid)
        whole = sum(b["count"] for b in told["buckets"] if not b["cut"]
                    and b["state"] != "pooled" and b["frames"]
                    and b["frames"][-1]["function"] == "coroutine_trampoline")
        tools = {"qhang": qhang}
        if script and count in GDB_COUNTS:
            addresses = [c["address"] for c in told["coroutines"]
                         if c["wait"]]
            tools["gdb"] = gdb_argv(pid, script, addresses, folder / "gdb")
        runs: dict[str, list[tuple[Stop, float]]] = {n: [] for n in tools}
        for turn in range(rounds):
            for name, argv in tools.items():
                if name == "qhang" or turn < 2:
                    runs[name].append(measure(pid, argv, 0))
        costs = {name: cost(argv) for name, argv in tools.items()}
        if "gdb" in costs:
            walked = costs["gdb"][2].count(" in coroutine_trampoline (")
            if walked < in_use:
                raise MeasureError(f"gdb shows {walked} of {in_use}")
        found: dict[str, Any] = {
            name: figures_of(told_runs, costs[name])
            for name, told_runs in runs.items()}
        found["qhang"]["reported_pause_ms"] = statistics.median(
            told_by_qhang(pid)["pause_ns"] for _ in range(rounds)) / 1e6
    return {"count": count, "in_use": in_use, "missing": in_use - whole,
            **found}


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = []
    for row in found["rows"]:
        for name, title in (("qhang", "qhang coroutines"),
                            ("gdb", "gdb, `qemu coroutine` each")):
            if name in row:
                one = row[name]
                rows.append([f"{row['in_use']}", title,
                             f"{one['whole_run_s']:.3f}",
                             f"{one['cpu_s']:.3f}",
                             f"{one['pause_ms']:.1f}",
                             f"{one['longest_pause_ms']:.1f}",
                             f"{one['peak_mib']:.0f}"])
    text = columns(["coroutines", "tool", "whole run, s", "CPU, s",
                    "pause, ms", "longest, ms", "memory, MiB"], rows)
    missing = sum(row["missing"] for row in found["rows"])
    end = (f"qhang shows all of them, each unwound to its entry, but "
           f"{missing}." if missing
           else "qhang shows all of them, each unwound to its entry.")
    if found["ratio"]:
        end = (f"For 1,000 coroutines gdb takes {found['ratio']:.0f} times as "
               f"long as qhang (wanted: {WANTED_RATIO:.0f}). {end}")
    return (f"{text}\n\n{end} gdb is given the addresses, qhang finds them. "
            f"Load average {found['load']:.1f}; medians of {found['rounds']} "
            f"rounds, of gdb 2.")


def is_enough(found: dict[str, Any]) -> bool:
    """Whether all that is asked for was reached."""
    return all(row["missing"] == 0
               and row["qhang"]["pause_ms"] <= WANTED_PAUSE_MS.get(
                   row["count"], float("inf"))
               for row in found["rows"]) \
        and (not found["ratio"] or found["ratio"] >= WANTED_RATIO)


def main() -> int:
    """Command line: 0 all reached, 1 not or not measured."""
    parser = argparse.ArgumentParser(
        description="Measures qhang coroutines, and gdb with QEMU's script "
                    "for as many, on victims with 100 to 10,000 coroutines.",
        epilog="example: tests/bench/coroutines.py --rounds 3")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    parser.add_argument("--fifo", action="store_true", help=OPTION_HELP)
    args = parser.parse_args()
    if args.fifo:
        prefer(os.getpid())
    script = qemu_script()
    if not script:
        print("coroutines.py: no lab, so no gdb beside it", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = [look(count, args.rounds, script, Path(folder))
                    for count in COUNTS]
    except (MeasureError, OSError, subprocess.SubprocessError) as error:
        print(f"coroutines.py: {error}", file=sys.stderr)
        return 1
    thousand = next(row for row in rows if row["count"] == 1000)
    ratio = thousand["gdb"]["whole_run_s"] / thousand["qhang"]["whole_run_s"] \
        if "gdb" in thousand else None
    found = {"rounds": args.rounds, "rows": rows, "ratio": ratio,
             "load": os.getloadavg()[0], "fifo": args.fifo}
    print(table(found))
    if args.save:
        keep("coroutines", "All coroutines, beside gdb", found, table(found))
    return 0 if is_enough(found) else 1


if __name__ == "__main__":
    sys.exit(main())
