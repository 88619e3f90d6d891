#!/usr/bin/python3
"""What share of a CPU `qhang watch` takes while all is well.

SPDX-License-Identifier: GPL-2.0-or-later

On QEMUs of the lab, each watched once a second for more than a minute, as the
kernel accounts for it (/proc/PID/schedstat).  Opening the debug information,
once, is told apart from what comes then.  That nothing was stopped is told
from the context switches of a thread that has nothing to do.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/lab")]

# pylint: disable=wrong-import-position
import build as lab_build
from figures import columns, keep
from guest import at_work
from labapt import LabError, SourceMissing
from labqemu import IOTHREAD, Qemu
from labqhang import qhang_program

SECONDS = 65.0
BEGIN_S = 30.0
WANTED_PERCENT = 0.1
MONITOR = ["--chardev", "socket,path=w,server=on,wait=off,id=w",
           "--monitor", "w"]


class BenchError(Exception):
    """It could not be measured."""


def cpu_ns(pid: int) -> int:
    """What the process has run so far; it has one thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def resident_mb(pid: int) -> float:
    """What it has in memory."""
    words = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(words[0]) / 1024


def switches(pid: int) -> dict[str, int]:
    """How often each thread but the main one has left the CPU."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        found[task.name] = sum(
            int(line.split()[1]) for line in text.splitlines()
            if "ctxt_switches" in line)
    return found


def measure(argv: list[str], qemu: int, seconds: float) -> dict[str, Any]:
    """Watches for so long; CPU time in ms, share in percent."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "m.prom"
        with subprocess.Popen([str(qhang_program()), "watch", "--metrics",
                               str(metrics), *argv],
                              stdin=subprocess.DEVNULL) as child:
            try:
                end = time.monotonic() + BEGIN_S
                while not metrics.exists():
                    if time.monotonic() > end or child.poll() is not None:
                        raise BenchError("the watch does not begin")
                    time.sleep(0.01)
                time.sleep(0.5)  # the first look is over by then
                begun, at = cpu_ns(child.pid), time.monotonic()
                before = switches(qemu)
                time.sleep(seconds)
                used = cpu_ns(child.pid) - begun
                wall = time.monotonic() - at
                after = switches(qemu)
                resident = resident_mb(child.pid)
            finally:
                child.terminate()
                status = child.wait(BEGIN_S)
        if status:
            raise BenchError(f"the watch ended with status {status}")
        text = metrics.read_text()
    looks = next(float(line.split()[-1]) for line in text.splitlines()
                 if line.startswith("qhang_diagnoses_total"))
    return {"begin_ms": begun / 1e6, "used_ms": used / 1e6, "wall_s": wall,
            "percent": used / 1e7 / wall, "looks": looks,
            "resident_mb": resident,
            "least_woken": min(after[tid] - before[tid] for tid in before
                               if tid in after)}


def run(seconds: float) -> dict[str, Any]:
    """All cases."""
    lab = lab_build.ensure(["fixed", "system"])
    found: dict[str, Any] = {"cases": {}}
    with ExitStack() as stack:
        qemu = stack.enter_context(Qemu(lab, "fixed", extra=MONITOR))
        qemu.to_iothread()
        qemu.add(60.0)
        found["cases"]["idle daemon"] = measure([str(qemu.pid)], qemu.pid,
                                                seconds)
        found["cases"]["idle daemon, --qmp"] = measure(
            [str(qemu.pid), "--qmp", str(qemu.folder / "w")], qemu.pid,
            seconds)
    with at_work("I/O", lab=lab) as work:
        pid = work.qemu.pid
        found["cases"]["guest at work"] = measure([str(pid)], pid, seconds)
    found["most_percent"] = max(case["percent"]
                                for case in found["cases"].values())
    return found


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [[name, f"{case['percent']:.4f}", f"{case['used_ms']:.1f}",
             f"{case['wall_s']:.0f}", f"{case['looks']:.0f}",
             f"{case['begin_ms']:.0f}", f"{case['resident_mb']:.0f}"]
            for name, case in found["cases"].items()]
    text = columns(["watched, once a second", "% of a CPU", "CPU time, ms",
                    "wall, s", "looks", "to begin, ms", "resident, MB"], rows)
    return (f"{text}\n\nWanted: below {WANTED_PERCENT} %.  A look reads "
            f"memory and stops nobody; `{IOTHREAD}` and its like ran no more "
            "than they had to: the thread that was woken least was woken "
            + ", ".join(f"{case['least_woken']}"
                        for case in found["cases"].values())
            + " times.")


def main() -> int:
    """Command line: 0 cheap enough, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Measures the CPU time that qhang watch takes on healthy "
                    "QEMUs.",
        epilog="example: tests/bench/watch.py --seconds 120")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    args = parser.parse_args()
    try:
        found = run(args.seconds)
    except SourceMissing as missing:
        print(f"watch.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, BenchError, OSError) as error:
        print(f"watch.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(table(found))
    if args.save:
        keep("watch", "What watching a healthy QEMU costs", found,
             table(found))
    return 0 if found["most_percent"] < WANTED_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
