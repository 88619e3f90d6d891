"""Runs qhang on a QEMU of the lab and holds its report against the truth.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Sequence

import jsonschema

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SCHEMA = CHECKOUT / "docs" / "qhang-report-1.json"
VERIFY_SCHEMA = CHECKOUT / "docs" / "qhang-verify-1.json"

EXIT_CLEAN = 0
EXIT_FINDING = 1
TIMEOUT_S = 60.0

WAKE_LOST = "sleep.wake-lost"
ERASED = "sleep.erased"
UNKICKED = "graph.writer-unkicked"
CLEANER_USER = "qcow2.cache-clean-timer"

# Why a thread of a busy host is not read, and how often it is tried.
STARVED = "did not get to a CPU"
MOST_LOOKS = 10

# A time to heal may differ from the timer's by this much.
HEALS_TOLERANCE_NS = 1_000_000_000

CLEANER_WAIT = ("cache_clean_timer_del_and_wait",
                "bdrv_set_aio_context_commit", "qmp_blockdev_add")
GRAPH_WAIT = ("bdrv_graph_wrlock", "blk_remove_bs", "qmp_blockdev_add")
SLEEPER_STACK = ("qemu_co_sleep_ns_wakeable", "cache_clean_timer")


def qhang_program() -> Path:
    """QHANG, or the program in QHANG_BUILD, or the one in build/."""
    told = os.environ.get("QHANG")
    if told:
        return Path(told).absolute()
    build = Path(os.environ.get("QHANG_BUILD") or CHECKOUT / "build")
    return build.absolute() / "collector" / "qhang"


Verdicts = dict[str, str]


def verify(path: Path, *options: str, timeout_s: float = TIMEOUT_S
           ) -> tuple[int, Verdicts, dict[str, Any]]:
    """`qhang verify`: exit status, the verdict of each check, the report."""
    done = subprocess.run([qhang_program(), "verify", "--json", *options,
                           str(path)],
                          check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, timeout=timeout_s)
    report: dict[str, Any] = json.loads(done.stdout)
    jsonschema.validate(report, json.loads(VERIFY_SCHEMA.read_text()))
    return (done.returncode,
            {check["name"]: check["verdict"] for check in report["checks"]},
            report)


@dataclass(frozen=True)
class Diagnosis:
    """One run of `qhang diagnose --json`."""

    argv: list[str]
    status: int
    report: dict[str, Any]
    stderr: str
    before_ns: int
    after_ns: int

    def told(self) -> str:
        """For a failed assertion: how to repeat it, and what came."""
        return (f"{json.dumps(self.report, indent=1)}\n"
                f"{' '.join(self.argv)}\n{self.stderr}\n"
                f"status {self.status}, findings {self.rules()}, "
                f"incomplete {self.report['incomplete']}")

    def thread(self, tid: int) -> dict[str, Any]:
        """The report's thread with this tid."""
        found = [t for t in self.report["threads"] if t["tid"] == tid]
        assert len(found) == 1, f"{len(found)} threads {tid}\n{self.told()}"
        return found[0]

    def coroutine(self, address: int) -> dict[str, Any]:
        """The report's coroutine at this address."""
        found = [c for c in self.report["coroutines"]
                 if int(c["address"], 16) == address]
        assert len(found) == 1, (f"{len(found)} coroutines {address:#x}\n"
                                 f"{self.told()}")
        return found[0]

    def rules(self) -> list[str]:
        """The rules of all findings."""
        return [finding["rule"] for finding in self.report["findings"]]


def diagnose(*target: str) -> Diagnosis:
    """Runs `qhang diagnose --json TARGET...`, checks the schema."""
    argv = [str(qhang_program()), "diagnose", "--json", *target]
    before = time.monotonic_ns()
    done = subprocess.run(argv, check=False, text=True, timeout=TIMEOUT_S,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    after = time.monotonic_ns()
    try:
        report = json.loads(done.stdout)
    except ValueError as error:
        raise AssertionError(
            f"{' '.join(argv)}: no JSON, status {done.returncode}\n"
            f"{done.stdout}\n{done.stderr}") from error
    jsonschema.validate(report, json.loads(SCHEMA.read_text()))
    return Diagnosis(argv, done.returncode, report, done.stderr, before,
                     after)


def diagnose_pid(pid: int) -> Diagnosis:
    """A live process."""
    return diagnose(str(pid))


def diagnose_core(core: Path, exe: Path) -> Diagnosis:
    """A core and the program that left it."""
    return diagnose("--core", str(core), "--exe", str(exe))


def truth(*gdb_target: str) -> dict[str, Any]:
    """What gdb finds by its own way; see truth_gdb.py."""
    argv = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off",
            *gdb_target, "-x", str(HERE / "truth_gdb.py")]
    done = subprocess.run(argv, check=False, text=True, timeout=TIMEOUT_S,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    for line in done.stdout.splitlines():
        if line.startswith("TRUTH "):
            return json.loads(line[len("TRUTH "):])
    raise AssertionError(f"{' '.join(argv)} says nothing:\n{done.stdout}")


def truth_of_pid(pid: int) -> dict[str, Any]:
    """The truth about a live process."""
    return truth("-p", str(pid))


def _names(stack: dict[str, Any]) -> list[str]:
    return [frame["function"] or "" for frame in stack["frames"]]


def _in_order(wanted: Sequence[str], names: Sequence[str]) -> bool:
    """Whether `wanted` are among `names`, in this order."""
    rest = iter(names)
    return all(any(name.split(".")[0] == want for name in rest)
               for want in wanted)


def _check_report(got: Diagnosis, rule: str, live: bool) -> dict[str, Any]:
    """The frame of every report on a hang; returns the one finding."""
    assert got.status == EXIT_FINDING, got.told()
    assert got.rules() == [rule], got.told()
    assert got.report["qmp_command"] == "blockdev-add", got.told()
    assert got.report["complete"], got.told()
    assert (got.report["pause_ns"] is None) == (not live), got.told()
    finding = got.report["findings"][0]
    assert finding["certainty"] == "proof", got.told()
    assert finding["evidence"], got.told()
    assert finding["fixed_in"], got.told()
    return finding


def _check_sleeper(got: Diagnosis, finding: dict[str, Any],
                   main_tid: int, known: dict[str, Any]) -> None:
    """The cleaner's coroutine, its iothread, and who waits."""
    sleeper = known["sleeper"]
    assert finding["user"] == CLEANER_USER, got.told()
    assert int(finding["coroutine"], 16) == sleeper["coroutine"], got.told()
    assert finding["tid"] == sleeper["tid"], got.told()
    coroutine = got.coroutine(sleeper["coroutine"])
    assert coroutine["entry"] == "cache_clean_timer", got.told()
    assert coroutine["state"] == "suspended", got.told()
    assert _in_order(SLEEPER_STACK, _names(coroutine)), got.told()
    context = int(coroutine["context"], 16)
    assert context == sleeper["context"], got.told()
    homes = {int(c["address"], 16): c["tid"] for c in got.report["contexts"]}
    assert homes[context] == sleeper["tid"], got.told()
    main = got.thread(main_tid)
    assert main["role"] == "main", got.told()
    assert _in_order(CLEANER_WAIT, _names(main)), got.told()
    assert got.thread(sleeper["tid"])["role"] == "iothread", got.told()
    rows = [s for s in got.report["sleepers"]
            if int(s["wake_address"], 16) == sleeper["wake_address"]]
    assert len(rows) == 1, got.told()
    armed = "armed" if sleeper["to_wake"] else "erased"
    assert rows[0]["armed"] == armed, got.told()


def check_wake_lost(got: Diagnosis, main_tid: int, known: dict[str, Any],
                    live: bool = True) -> None:
    """The cache cleaner, woken before it armed; heals with its timer."""
    sleeper = known["sleeper"]
    assert sleeper["interval"] == 0, known
    assert sleeper["to_wake"] == sleeper["coroutine"], known
    finding = _check_report(got, WAKE_LOST, live)
    _check_sleeper(got, finding, main_tid, known)
    assert finding["heals"] == "timer", got.told()
    if not live:
        return
    least = sleeper["expire_time_ns"] - got.after_ns - HEALS_TOLERANCE_NS
    most = sleeper["expire_time_ns"] - got.before_ns + HEALS_TOLERANCE_NS
    assert least <= finding["heals_in_ns"] <= most, got.told()


def check_erased(got: Diagnosis, main_tid: int, known: dict[str, Any],
                 live: bool = True) -> None:
    """The cache cleaner, its arm wiped out by the wake; never heals."""
    assert known["sleeper"]["interval"] == 0, known
    assert known["sleeper"]["to_wake"] == 0, known
    finding = _check_report(got, ERASED, live)
    _check_sleeper(got, finding, main_tid, known)
    assert finding["heals"] == "never", got.told()
    assert finding["heals_in_ns"] is None, got.told()


def check_unkicked(got: Diagnosis, main_tid: int, known: dict[str, Any],
                   live: bool = True) -> None:
    """The graph writer that no reader kicked; never heals."""
    assert known["readers"] == 0 and known["has_writer"] == 0, known
    assert "bdrv_graph_wrlock" in known["main"], known
    finding = _check_report(got, UNKICKED, live)
    assert finding["tid"] == main_tid, got.told()
    assert finding["heals"] == "never", got.told()
    assert finding["heals_in_ns"] is None, got.told()
    assert _in_order(GRAPH_WAIT, _names(got.thread(main_tid))), got.told()


def check_clean(got: Diagnosis) -> None:
    """A healthy QEMU: no finding, nothing unreadable."""
    assert got.rules() == [], got.told()
    assert got.status == EXIT_CLEAN, got.told()
    assert got.report["complete"], got.told()


def look_clean(pid: int) -> None:
    """A healthy QEMU on a busy host: no finding, and all of it read.

    A thread that gets to no CPU in time cannot be stopped, and the report
    says so; then it is looked at again, a few times.
    """
    for _ in range(MOST_LOOKS):
        got = diagnose_pid(pid)
        assert got.rules() == [], got.told()
        if not any(STARVED in gap["reason"]
                   for gap in got.report["incomplete"]):
            break
    check_clean(got)


def gcore(pid: int, folder: Path) -> Path:
    """A core of a live process by gdb's gcore, which goes on afterwards."""
    done = subprocess.run(["gcore", "-o", str(folder / "core"), str(pid)],
                          check=False, text=True, timeout=TIMEOUT_S,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    core = folder / f"core.{pid}"
    assert core.is_file(), f"gcore {pid}:\n{done.stdout}"
    return core


def kernel_core(pid: int, folder: Path, wait: Any) -> Optional[Path]:
    """Aborts a process that runs in `folder` and gives its core.

    None when this kernel hands cores to a program or another place.
    `wait` waits for the process's end.
    """
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" in pattern or pattern.startswith("|"):
        return None
    before = set(folder.glob("core*"))
    os.kill(pid, 6)
    wait()
    new = set(folder.glob("core*")) - before
    assert len(new) == 1, f"abort of {pid} left {new or 'no core'}"
    return new.pop()
