#!/usr/bin/python3
"""Whether a large guest makes a diagnosis slower, or is read at all.

SPDX-License-Identifier: GPL-2.0-or-later

Two system emulators of the clang build, hung by themselves, with little and
with much guest RAM, all of it touched, are diagnosed in turns: as they hung;
then with every stack made silent about its coroutine, so that the heap must
be searched (see tests/blind.py); and then from the kernel's cores of those.
Every diagnosis must be right, or its time is worth nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/lab"), str(CHECKOUT / "tests")]

# pylint: disable=wrong-import-position
import build as lab_build
import hang as lab_hang
from blind import blind
from figures import columns, keep
from labapt import LabError, SourceMissing
from labqhang import (Diagnosis, check_wake_lost, diagnose_core, diagnose_pid,
                      kernel_core, truth_of_pid)
from realtime import OPTION_HELP, prefer

BUILD = "clang"
SMALL_MIB, LARGE_MIB = 128, 8192
ROUNDS = 11
MOST_RATIO = 1.2
MOST_BYTES = 64 << 20
INTERVAL_S = 86400


@dataclass
class Guest:
    """A hung emulator and what is true of it."""

    mib: int
    hang: lab_hang.Hang
    known: dict[str, Any]
    core: Optional[Path] = None

    def rss_mib(self) -> int:
        """What it really has in memory."""
        status = Path(f"/proc/{self.hang.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) >> 10

    def live(self) -> Diagnosis:
        """Diagnosed while it runs."""
        got = diagnose_pid(self.hang.pid)
        check_wake_lost(got, self.hang.pid, self.known)
        return got

    def from_core(self) -> Diagnosis:
        """Diagnosed from what the kernel left of it."""
        assert self.core
        got = diagnose_core(self.core, self.hang.qemu.exe)
        check_wake_lost(got, self.hang.pid, self.known, live=False)
        return got


@dataclass
class Row:
    """One way of looking at one guest, many times."""

    way: str
    guest: Guest
    runs: list[Diagnosis] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Its figures; times in milliseconds."""
        times = [(run.after_ns - run.before_ns) / 1e6 for run in self.runs]
        pauses = [run.report["pause_ns"] for run in self.runs]
        return {
            "way": self.way, "guest_mib": self.guest.mib,
            "median_ms": statistics.median(times),
            "fastest_ms": min(times), "slowest_ms": max(times),
            "bytes_read": max(run.report["bytes_read"] for run in self.runs),
            "longest_pause_ms":
                None if None in pauses else max(pauses) / 1e6,
        }


def hung_guest(stack: ExitStack, mib: int) -> Guest:
    """Hangs one; all of its RAM is touched before it starts."""
    extra = ("-machine", "memory-backend=ram0", "-object",
             f"memory-backend-ram,id=ram0,size={mib}M,prealloc=on")
    hang = stack.enter_context(lab_hang.hung(
        BUILD, system=True, interval_s=INTERVAL_S, extra=extra))
    guest = Guest(mib, hang, truth_of_pid(hang.pid))
    if guest.rss_mib() < mib:
        raise LabError(f"{mib} MiB of guest RAM, but {guest.rss_mib()} MiB "
                       "in memory")
    return guest


def take_turns(way: str, guests: list[Guest], rounds: int,
               look: Callable[[Guest], Diagnosis]) -> list[dict[str, Any]]:
    """Looks at the guests in turns; one round before does not count."""
    rows = [Row(way, guest) for guest in guests]
    for turn in range(rounds + 1):
        for row in rows:
            got = look(row.guest)
            if turn:
                row.runs.append(got)
    return [row.told() for row in rows]


def dump(guest: Guest) -> None:
    """Has the kernel write its core, which ends it."""
    room = shutil.disk_usage(guest.hang.qemu.folder).free >> 20
    if room < 2 * guest.mib:
        raise LabError(f"{room} MiB free are too few for a core with "
                       f"{guest.mib} MiB of guest RAM")
    guest.core = kernel_core(guest.hang.pid, guest.hang.qemu.folder,
                             guest.hang.qemu.process.wait)
    if guest.core is None:
        raise LabError("this kernel's core_pattern takes cores elsewhere")


def compare(rounds: int, fifo: bool) -> dict[str, Any]:
    """All ways of looking; the cores are gone afterwards."""
    with ExitStack() as stack:
        guests = [hung_guest(stack, mib) for mib in (SMALL_MIB, LARGE_MIB)]
        rss = {guest.mib: guest.rss_mib() for guest in guests}
        if fifo:
            for pid in (os.getpid(), *(guest.hang.pid for guest in guests)):
                prefer(pid)
        rows = take_turns("live", guests, rounds, Guest.live)
        silenced = [blind(guest.live().report) for guest in guests]
        rows += take_turns("live, heap searched", guests, rounds, Guest.live)
        for guest in guests:
            dump(guest)
        size = {guest.mib: guest.core.stat().st_blocks >> 11
                for guest in guests if guest.core}
        rows += take_turns("core, heap searched", guests, rounds,
                           Guest.from_core)
    return {"rounds": rounds, "rss_mib": rss, "core_mib": size,
            "fifo": fifo,
            "stacks_silenced": silenced, "rows": rows,
            "ratios": {small["way"]: large["median_ms"] / small["median_ms"]
                       for small, large in zip(rows[::2], rows[1::2])}}


def good(found: dict[str, Any]) -> bool:
    """Whether the large guest costs no more than it may."""
    return (max(found["ratios"].values()) <= MOST_RATIO
            and max(row["bytes_read"] for row in found["rows"]) <= MOST_BYTES)


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = []
    for row in found["rows"]:
        pause = row["longest_pause_ms"]
        rows.append([row["way"], f"{row['guest_mib']} MiB",
                     f"{row['median_ms']:.0f}",
                     f"{row['fastest_ms']:.0f}..{row['slowest_ms']:.0f}",
                     f"{row['bytes_read'] / 2**20:.2f}",
                     "" if pause is None else f"{pause:.2f}"])
    text = columns(["qhang diagnose", "guest RAM", "median, ms", "range, ms",
                    "read, MiB", "longest pause, ms"], rows)
    ratios = ", ".join(f"{way}: {ratio:.2f}"
                       for way, ratio in found["ratios"].items())
    return (f"{text}\n\nMedian with {LARGE_MIB} MiB over the one with "
            f"{SMALL_MIB} MiB (wanted: {MOST_RATIO}): {ratios}. Read, with "
            f"stacks and heap (wanted without: {MOST_BYTES >> 20} MiB), is "
            f"the most of {found['rounds']} runs each. In memory: "
            f"{found['rss_mib']} MiB; cores: {found['core_mib']} MiB; stacks "
            f"that were silenced: {found['stacks_silenced']}.")


def main() -> int:
    """Command line: 0 within the limits, 1 not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Diagnoses hung system emulators with little and with "
                    "much guest RAM, live and from cores.",
        epilog="example: tests/bench/ram.py --rounds 5; needs 9 GiB of "
               "memory and 16 GiB of disk for a while")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--fifo", action="store_true", help=OPTION_HELP)
    parser.add_argument("--save", action="store_true",
                        help="keep the figures in tests/bench/results")
    args = parser.parse_args()
    try:
        lab_build.ensure(["clang", "clang-system", "stock"])
        found = compare(args.rounds, args.fifo)
    except SourceMissing as missing:
        print(f"ram.py: skipped: {missing}", file=sys.stderr)
        return lab_build.EXIT_MISSING
    except (LabError, OSError, lab_hang.NoHang) as error:
        print(f"ram.py: {error}", file=sys.stderr)
        return lab_build.EXIT_FAILED
    print(table(found))
    if args.save:
        keep("ram", "Diagnosis with little and with much guest RAM", found,
             table(found))
    return 0 if good(found) else 1


if __name__ == "__main__":
    sys.exit(main())
