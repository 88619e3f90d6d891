#!/usr/bin/python3
"""Makes a QEMU of the lab hang by itself, and hands it over stuck.

SPDX-License-Identifier: GPL-2.0-or-later

No debugger and no injected delay: the qcow2 node on a file node that lives
in an iothread is opened and closed under stress-ng until an answer to QMP
does not come.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, ContextManager, Iterator, Optional, Sequence

import build as lab_build
from labapt import LabError, SourceMissing
from labqemu import Qemu, Stress
from race import rounds as race_rounds
from race.rounds import LateAnswer

PAIRS_PER_PROCESS = 100
STRESS_SLICE_S = 900

CACHE_CLEANER = "cache-cleaner"
GRAPH = "graph"
UNKNOWN = "unknown"
FRAMES = {
    CACHE_CLEANER: "cache_clean_timer_del_and_wait",
    GRAPH: "bdrv_graph_wrlock",
}
# The kind that a build is expected to show, each with one fault at work.
USUAL_KIND = {"graphfix": CACHE_CLEANER, "clang": CACHE_CLEANER,
              "O0": CACHE_CLEANER, "stock": GRAPH, "clang-stock": GRAPH,
              "O0-stock": GRAPH}


class NoHang(Exception):
    """It did not hang within the rounds that were allowed."""


@dataclass
class Hang:
    """A stuck QEMU; valid inside the with statement that gave it."""

    qemu: Qemu
    kind: str
    # The main thread's functions, innermost first.
    stack: list[str]
    command: str
    stuck_since: float
    pairs: int
    stress: Optional[Stress]

    @property
    def pid(self) -> int:
        """The stuck process."""
        return self.qemu.pid

    def goes_on(self, timeout_s: float) -> bool:
        """Whether the missing answer comes within `timeout_s`."""
        return self.qemu.qmp.answered(timeout_s)


def main_thread_functions(pid: int,
                          debuginfo: Optional[Path] = None) -> list[str]:
    """Function names on the main thread's stack, innermost first."""
    where = [f"--debuginfo-path={debuginfo}"] if debuginfo else []
    done = subprocess.run(["eu-stack", "-1", *where, "-p", str(pid)],
                          check=False,
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL)
    names = []
    for line in done.stdout.splitlines():
        words = line.split()
        if len(words) >= 3 and words[0].startswith("#"):
            names.append(words[2].split(".")[0])
    return names


def kind_of(stack: Sequence[str]) -> str:
    """Which of the known waits is on a main thread's stack, or "unknown"."""
    for kind, frame in FRAMES.items():
        if frame in stack:
            return kind
    return UNKNOWN


def hunt(qemu: Qemu, stress: Optional[Stress], pairs: int,
         keep_stress: bool = False,
         debuginfo: Optional[Path] = None) -> Optional[Hang]:
    """Opens and closes in one process until it hangs; None after `pairs`.

    Raises LateAnswer as race.rounds.hunt() does.
    """
    found = race_rounds.hunt(qemu, stress, pairs, keep_stress)
    if found is None:
        return None
    stack = main_thread_functions(qemu.pid, debuginfo)
    return Hang(qemu, kind_of(stack), stack, found.command,
                found.stuck_since, found.pairs, stress)


@contextmanager
def hung(build: str, kind: Optional[str] = None, system: bool = False,
         keep_stress: bool = False, processes: int = 40,
         interval_s: Optional[int] = None,
         lab: Optional[Path] = None, extra: Sequence[str] = (),
         exe: Optional[Path] = None,
         debuginfo: Optional[Path] = None,
         begin: Callable[[Qemu], ContextManager] = nullcontext
         ) -> Iterator[Hang]:
    """Yields a QEMU of `build` that hung by itself as `kind`.

    A hang of another kind is thrown away (stock has both faults).  Raises
    NoHang after `processes` processes without one.  The stressors are
    stopped before the hand-over unless `keep_stress`.  `interval_s` is the
    cache cleaner's, after which that hang heals; QEMU's default is 600 s.
    `extra` and `exe` are as for Qemu; of a stripped `exe` the debug file is
    found by build-id below `debuginfo`.  `begin` is entered with each fresh
    QEMU before anything is done to it, and left before it is ended.
    """
    lab = lab or lab_build.lab_folder()
    kind = kind or USUAL_KIND[build]
    seen = []
    for _ in range(processes):
        with Qemu(lab, build, system, extra, exe) as qemu, begin(qemu), \
                Stress(STRESS_SLICE_S) as stress:
            qemu.cleaner_interval_s = interval_s
            qemu.to_iothread()
            try:
                hang = hunt(qemu, stress, PAIRS_PER_PROCESS, keep_stress,
                            debuginfo)
            except LateAnswer as late:
                seen.append(str(late))
                continue
            if hang and hang.kind == kind:
                yield hang
                return
            seen.append(hang.kind if hang else "none")
    raise NoHang(f"{build}: no {kind} hang in {processes} processes of "
                 f"{PAIRS_PER_PROCESS} add/del pairs; seen: {seen}")


def _command_line() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Makes a QEMU of the lab hang under stress-ng and prints "
                    "its pid. With --hold it stays stuck until this command "
                    "is interrupted, so that qhang can be tried on it.",
        epilog="example: tests/lab/hang.py --build graphfix --hold, then "
               "qhang diagnose PID in another terminal")
    parser.add_argument("--build", default="graphfix",
                        choices=sorted(USUAL_KIND),
                        help="which build of the lab (default: graphfix)")
    parser.add_argument("--kind", choices=sorted(FRAMES),
                        help="which hang; default: the one that the build "
                        "is known for")
    parser.add_argument("--system", action="store_true",
                        help="qemu-system-x86_64 -M none, not the daemon")
    parser.add_argument("--hold", action="store_true",
                        help="print the pid and wait to be interrupted")
    parser.add_argument("--interval", type=int, metavar="SECONDS",
                        help="the cache cleaner's interval: a cache-cleaner "
                        "hang heals after it (default: QEMU's 600)")
    parser.add_argument("--stress", action="store_true",
                        help="let stress-ng run on while holding")
    return parser.parse_args()


def main() -> int:
    """Command line: 0 it hung, 1 it did not, 77 no source for the lab."""
    args = _command_line()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name = args.build
    if args.system:
        name = {"graphfix": "system", "stock": "system-stock",
                "clang": "clang-system"}.get(args.build, "")
        if not name:
            print(f"hang.py: no system emulator is built for {args.build}",
                  file=sys.stderr)
            return lab_build.EXIT_FAILED
    started = time.monotonic()
    try:
        lab = lab_build.ensure([name, "stock"])
        with hung(args.build, args.kind, args.system, args.stress,
                  interval_s=args.interval, lab=lab) as hang:
            print(f"{hang.pid} {hang.qemu.exe} {hang.kind} "
                  f"command={hang.command} pairs={hang.pairs} "
                  f"after={time.monotonic() - started:.1f}s", flush=True)
            if args.hold:
                signal.pause()
    except SourceMissing as missing:
        print(f"hang.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, NoHang) as error:
        print(f"hang.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
