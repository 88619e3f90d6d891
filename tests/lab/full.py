#!/usr/bin/python3
"""The lab's counts: every kind of hang many times, and 300 healthy looks.

SPDX-License-Identifier: GPL-2.0-or-later

Run by hand (tests/run.sh --lab=full); takes an hour or two.  A case that
goes wrong is written down and the rest goes on.  The figures are kept in
tests/bench/results/lab.json and lab.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import build as lab_build
import hang as lab_hang
import upgraded
from forced import forced
from guest import BEGINNINGS, at_work
from healthy import Worker, busy_io, churn
from labapt import LabError, SourceMissing
from labqhang import (Diagnosis, check_clean, check_erased, check_unkicked,
                      check_wake_lost, diagnose_core, diagnose_pid, gcore,
                      kernel_core, truth_of_pid,
                      verify)
from race import (ERASED, GRAPH, HANG, INTERLEAVINGS, SURVIVES,
                  WAKE_BEFORE_ARM)

RESULTS = lab_build.CHECKOUT / "tests/bench/results"
RACE_TIMEOUT_S = 3600.0
STRESS_ROUNDS = 60
Check = Callable[..., None]


@dataclass
class Tally:
    """What became of one row of the table."""

    name: str
    wanted: int
    passed: int = 0
    seconds: float = 0.0
    notes: Counter = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One row of the Markdown table."""
        notes = ", ".join(f"{k}: {v}" for k, v in sorted(self.notes.items()))
        return (f"| {self.name} | {self.passed} of {self.wanted} "
                f"| {self.seconds:.0f} | {notes} |")


Case = Callable[[Tally], None]


def natural(build: str, system: bool, cores: bool) -> Case:
    """One natural hang: live, and the same verdict from both cores."""
    kind = lab_hang.USUAL_KIND[build]
    check = (check_wake_lost if kind == lab_hang.CACHE_CLEANER
             else check_unkicked)

    def run(tally: Tally) -> None:
        with lab_hang.hung(build, kind, system) as hang, \
                tempfile.TemporaryDirectory(dir=hang.qemu.folder) as folder:
            tally.notes["add/del pairs until it hung"] += hang.pairs
            live = diagnose_pid(hang.pid)
            known = truth_of_pid(hang.pid)
            check(live, hang.pid, known)
            assert not hang.goes_on(0.2), "it went on under diagnosis"
            tally.notes["live"] += 1
            if cores:
                _both_cores(tally, hang, check, known, Path(folder))

    return run


def _both_cores(tally: Tally, hang: lab_hang.Hang, check: Check,
                known: dict[str, Any], folder: Path) -> None:
    by_gdb = gcore(hang.pid, folder)
    check(diagnose_core(by_gdb, hang.qemu.exe), hang.pid, known, live=False)
    tally.notes["gcore"] += 1
    by_kernel = kernel_core(hang.pid, hang.qemu.folder,
                            hang.qemu.process.wait)
    if by_kernel is None:
        tally.notes["kernel cores go elsewhere here"] += 1
        return
    check(diagnose_core(by_kernel, hang.qemu.exe), hang.pid, known,
          live=False)
    tally.notes["kernel core"] += 1


def forced_hang(build: str, interleaving: str, system: bool = False) -> Case:
    """One forced hang, diagnosed as what was forced."""
    check = {WAKE_BEFORE_ARM: check_wake_lost, ERASED: check_erased,
             GRAPH: check_unkicked}[interleaving]

    def run(tally: Tally) -> None:
        with forced(build, interleaving, system) as (qemu, outcome):
            assert outcome == HANG, outcome
            check(diagnose_pid(qemu.pid), qemu.pid, truth_of_pid(qemu.pid))

    return run


def forced_survival(build: str, interleaving: str) -> Case:
    """The same order of events in a build that must pass it."""

    def run(tally: Tally) -> None:
        with forced(build, interleaving) as (qemu, outcome):
            assert outcome == SURVIVES, outcome
            check_clean(diagnose_pid(qemu.pid))
            qemu.delete()

    return run


class Healthy:
    """Diagnoses in the middle of work, one QEMU for all of a row's turns."""

    def __init__(self, open_work: Callable[[], Any]) -> None:
        self._open = open_work

    def all(self, tally: Tally) -> None:
        """As many diagnoses as the row wants, each of which must be clean.

        A faulty build that hangs for real is begun anew; what was said about
        it does not count.
        """
        done = 0
        while done < tally.wanted:
            with self._open() as work:
                done += self._some(tally, work, tally.wanted - done)

    def _some(self, tally: Tally, work: Worker, most: int) -> int:
        for turn in range(most):
            got = diagnose_pid(work.qemu.pid)
            if not work.goes_on():
                tally.notes["hung for real"] += 1
                return turn
            _count_clean(tally, got)
        tally.notes["steps of work"] += work.steps
        return most


def _count_clean(tally: Tally, got: Diagnosis) -> None:
    try:
        check_clean(got)
        tally.passed += 1
        pause = got.report["pause_ns"] / 1e6
        key = "longest pause, ms"
        tally.notes[key] = max(tally.notes[key], round(pause, 3))
    except AssertionError as error:
        tally.failures.append(str(error))


@dataclass(frozen=True)
class Row:
    """One row: a case to repeat, or what makes all of its turns itself."""

    section: str
    name: str
    times: int
    case: Optional[Case] = None
    whole: Optional[Case] = None


def _forced_rows() -> list[Row]:
    rows = [Row("forced", f"{build}, {interleaving}: hangs", 5,
                forced_hang(build, interleaving))
            for build, interleaving in (("graphfix", WAKE_BEFORE_ARM),
                                        ("graphfix", ERASED),
                                        ("stock", GRAPH))]
    rows += [Row("forced", f"fixed, {interleaving}: survives", 5,
                 forced_survival("fixed", interleaving))
             for interleaving in INTERLEAVINGS]
    return rows


def _other_rows() -> list[Row]:
    """Other programs, compilers and switches."""
    rows = []
    for build, system in (("graphfix", True), ("clang", False),
                          ("clang", True), ("O0", False)):
        name = f"{build} {'system emulator' if system else 'daemon'}"
        rows.append(Row("others", f"{name}, natural", 3,
                        natural(build, system, cores=True)))
        rows += [Row("others", f"{name}, {interleaving}: hangs", 2,
                     forced_hang(build, interleaving, system))
                 for interleaving in (WAKE_BEFORE_ARM, ERASED)]
    rows.append(Row("others", "stock system emulator, natural", 3,
                    natural("stock", True, cores=True)))
    for build in ("clang-stock", "O0-stock", "stock-again"):
        rows.append(Row("others", f"{build} daemon, {GRAPH}: hangs", 2,
                        forced_hang(build, GRAPH)))
    rows += [Row("others", f"graphfix-again daemon, {interleaving}: hangs", 2,
                 forced_hang("graphfix-again", interleaving))
             for interleaving in (WAKE_BEFORE_ARM, ERASED)]
    return rows


def _healthy_rows() -> list[Row]:
    def row(name: str, times: int, open_work: Callable[[], Any]) -> Row:
        return Row("healthy", name, times, whole=Healthy(open_work).all)

    return [
        row("fixed, add/del under stress-ng", 100,
            lambda: churn("fixed", stress=True)),
        row("stock, I/O in the iothread under stress-ng", 30,
            lambda: busy_io("stock", stress=True)),
        row("stock, I/O in the main thread under stress-ng", 30,
            lambda: busy_io("stock", stress=True, iothread=False)),
        row("graphfix, I/O in the iothread under stress-ng", 30,
            lambda: busy_io("graphfix", stress=True)),
        row("graphfix, I/O in the main thread under stress-ng", 30,
            lambda: busy_io("graphfix", stress=True, iothread=False)),
        row("stock, add/del", 40, lambda: churn("stock", stress=False)),
        row("graphfix, add/del", 40,
            lambda: churn("graphfix", stress=False)),
    ]


def _guest_rows() -> list[Row]:
    """A booted system emulator, its disk in an iothread."""
    def row(what: str) -> Row:
        return Row("guest", f"guest at its disk, {what}", 140,
                   whole=Healthy(lambda: at_work(what)).all)

    return [row(what) for what in BEGINNINGS]


def _upgrade_rows() -> list[Row]:
    """Another sleep, put into a running graphfix daemon."""
    def row(name: str, case: Callable[..., None], *told: Any) -> Row:
        return Row("upgrade", name, 10,
                   lambda _: case(lab_build.lab_folder(), *told))

    return [
        row("to fixed: sleeper of the main thread, woken", upgraded.woken,
            False),
        row("to fixed: sleeper of the iothread, woken", upgraded.woken, True),
        row("to fixed: sleeper's timer fires", upgraded.fired),
        row(f"to fixed: {WAKE_BEFORE_ARM} survives", upgraded.raced,
            WAKE_BEFORE_ARM),
        row(f"to fixed: {ERASED} survives", upgraded.raced, ERASED),
        row("to QEMU's own repair: sleeper's assertion aborts",
            upgraded.mark_aborts),
        row("to QEMU's own repair: nobody asleep, goes on",
            upgraded.mark_alone),
    ]


def judged(build: str) -> Case:
    """A build's daemon by its machine code, with its symbols and without."""
    state = build.rsplit("-", 1)[1]
    sleep = "safe" if state == "fixed" else "vulnerable"
    graph = "vulnerable" if state == "stock" else "safe"

    def run(tally: Tally) -> None:
        daemon = lab_build.lab_folder() / "bin" / build / "qemu-storage-daemon"
        with tempfile.TemporaryDirectory() as folder:
            bare = Path(folder) / daemon.name
            subprocess.run(["strip", "-o", bare, daemon], check=True)
            for path in (daemon, bare):
                _, verdicts, _ = verify(path)
                assert verdicts == {"sleep-wake": sleep, "sleep-arm": sleep,
                                    "graph-unlock": graph}, (path, verdicts)
                tally.notes["with symbols" if path == daemon
                            else "stripped"] += 1

    return run


class Raced:
    """What `qhang verify --race` comes to, one run for all of a build."""

    def __init__(self, build: str, times: int) -> None:
        self._build = build
        self._times = times
        self._report: Optional[dict[str, Any]] = None

    def row(self, check: str, hangs: bool) -> Row:
        """The row of one check; each of its rounds must hang, or none."""
        def all_of_it(tally: Tally) -> None:
            self._count(tally, check, hangs)

        return Row("race", f"{self._build}, {check}: "
                   + ("hangs, diagnosed as forced" if hangs else "goes on"),
                   self._times, whole=all_of_it)

    def _count(self, tally: Tally, check: str, hangs: bool) -> None:
        if self._report is None:
            daemon = (lab_build.lab_folder() / "bin" / self._build
                      / "qemu-storage-daemon")
            _, _, self._report = verify(daemon, f"--race={tally.wanted}",
                                        timeout_s=RACE_TIMEOUT_S)
        found = next(c for c in self._report["checks"] if c["name"] == check)
        trial = found["trial"]
        tally.passed = (trial["agreed"] if hangs
                        else trial["rounds"] - trial["hung"])
        tally.seconds = trial["seconds"]
        tally.notes["seconds each"] = round(
            trial["seconds"] / max(trial["rounds"], 1), 1)
        if found["verdict"] != ("vulnerable" if hangs else "safe"):
            tally.failures.append(json.dumps(found))


def stressed(build: str, verdict: str) -> Case:
    """`qhang verify --stress 60`, which must come to this verdict."""

    def run(tally: Tally) -> None:
        daemon = lab_build.lab_folder() / "bin" / build / "qemu-storage-daemon"
        _, verdicts, report = verify(daemon, "--stress", str(STRESS_ROUNDS),
                                     timeout_s=RACE_TIMEOUT_S)
        found = next(c for c in report["checks"] if c["name"] == "stress")
        assert verdicts["stress"] == verdict, found
        for name in ("rounds", "hung", "agreed", "late"):
            tally.notes[name] = found["trial"][name]
        tally.notes["at most, %"] = round(found["trial"]["at_most"] * 100, 1)

    return run


def _race_rows() -> list[Row]:
    """Each interleaving, forced by qhang itself on what it must hang or not;
    and natural hangs, counted by qhang."""
    graphfix, fixed, stock = (Raced(build, 20) for build in
                              ("graphfix", "fixed", "stock"))
    return [
        graphfix.row("race.wake-before-arm", True),
        graphfix.row("race.erased", True),
        graphfix.row("race.graph-unlock", False),
        fixed.row("race.wake-before-arm", False),
        fixed.row("race.erased", False),
        fixed.row("race.graph-unlock", False),
        stock.row("race.graph-unlock", True),
        Row("race", "graphfix, stress: vulnerable", 1,
            stressed("graphfix", "vulnerable")),
        Row("race", "stock, stress: vulnerable", 1,
            stressed("stock", "vulnerable")),
        Row("race", "fixed, stress: safe", 1, stressed("fixed", "safe")),
    ]


def rows() -> list[Row]:
    """Everything that "What it must show" asks of the lab."""
    return [
        Row("natural", "graphfix daemon, natural", 10,
            natural("graphfix", False, cores=True)),
        Row("natural", "stock daemon, natural", 10,
            natural("stock", False, cores=True)),
        *_forced_rows(), *_other_rows(), *_healthy_rows(), *_guest_rows(),
        *_upgrade_rows(),
        *(Row("verify", name.removeprefix("verify-"), 1, judged(name))
          for name in lab_build.VERIFIED),
        *_race_rows(),
    ]


SECTIONS = ("natural", "forced", "others", "healthy", "guest", "upgrade",
            "verify", "race")
BUILDS = {"natural": lab_build.FIRST, "forced": lab_build.FIRST,
          "healthy": lab_build.FIRST, "guest": ("stock", "system"),
          "upgrade": ("stock", "graphfix"),
          "verify": lab_build.VERIFIED, "race": lab_build.FIRST,
          "others": (*lab_build.FIRST, "system", "system-stock", "clang",
                     "clang-system", "clang-stock", "O0", "O0-stock",
                     "stock-again", "graphfix-again")}


def run_row(row: Row) -> Tally:
    """All turns of one row; a failure is kept and the next turn comes."""
    tally = Tally(row.name, row.times)
    started = time.monotonic()
    if row.whole:
        try:
            row.whole(tally)
        except Exception:  # one row's trouble must not end the others
            tally.failures.append(traceback.format_exc())
    for _ in range(row.times if row.case else 0):
        try:
            row.case(tally)
            tally.passed += 1
        except Exception:  # likewise
            tally.failures.append(traceback.format_exc())
    tally.seconds = tally.seconds or time.monotonic() - started
    return tally


def keep(section: str, tallies: list[Tally]) -> None:
    """Writes one section's figures; other sections stay as they are."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "lab.json"
    told = json.loads(path.read_text()) if path.is_file() else {}
    told[section] = {
        "revision": lab_build.revision(), "cpus": os.cpu_count(),
        "kernel": platform.release(), "qemu": lab_build.WANTED,
        "date": time.strftime("%Y-%m-%d"),
        "rows": [{"name": t.name, "passed": t.passed, "wanted": t.wanted,
                  "seconds": round(t.seconds, 1), "notes": dict(t.notes)}
                 for t in tallies]}
    path.write_text(json.dumps(told, indent=1) + "\n")
    (RESULTS / "lab.md").write_text(as_markdown(told))


def as_markdown(told: dict[str, Any]) -> str:
    """The kept figures as tables."""
    lines = ["# The lab's counts", "",
             "Made by `tests/lab/full.py`; each row is so many of so many."]
    for section in (s for s in SECTIONS if s in told):
        head = told[section]
        lines += ["", f"## {section}", "",
                  f"{head['date']}, revision {head['revision']}, QEMU "
                  f"{head['qemu']}, {head['cpus']} CPUs, kernel "
                  f"{head['kernel']}.", "",
                  "| case | right | seconds | notes |", "|---|---|---|---|"]
        for row in head["rows"]:
            lines.append(Tally(row["name"], row["wanted"], row["passed"],
                               row["seconds"], Counter(row["notes"])).line())
    return "\n".join(lines) + "\n"


def main() -> int:
    """Command line: 0 all right, 1 something was not, 77 no lab."""
    parser = argparse.ArgumentParser(
        description="Runs the lab's counts and keeps their figures.",
        epilog="example: tests/lab/full.py --section natural")
    parser.add_argument("--section", choices=SECTIONS, action="append",
                        help="only this one; may be given again")
    parser.add_argument("--times", type=int,
                        help="so many of each row; the figures are then "
                        "shown and not kept")
    args = parser.parse_args()
    bad = 0
    for section in args.section or SECTIONS:
        try:
            lab_build.ensure(BUILDS[section])
        except SourceMissing as missing:
            print(f"full.py: skipped: {missing}", file=sys.stderr)
            return lab_build.EXIT_MISSING
        except LabError as error:
            print(f"full.py: {error}", file=sys.stderr)
            return lab_build.EXIT_FAILED
        tallies = []
        for row in (r for r in rows() if r.section == section):
            if args.times:
                row = Row(row.section, row.name, args.times, row.case,
                          row.whole)
            tallies.append(run_row(row))
            print(tallies[-1].line(), flush=True)
            for failure in tallies[-1].failures:
                print(failure, file=sys.stderr, flush=True)
            bad += len(tallies[-1].failures)
        if not args.times:
            keep(section, tallies)
    print(f"{bad} failures")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
