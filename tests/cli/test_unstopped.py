"""--no-stop: the same faults named, less surely, and nothing touched.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import (CLEAN, FINDING, INCOMPLETE, LIMIT_S, QHANG, Victim,
                      qhang, report, task_states, traced_by, under,
                      wait_until)
from test_cycle import CIRCLES, CULPRITS
from test_diagnose import (COMMANDS, FAULTS, PROGRAMS, SCENARIOS, functions,
                           thread)


def switches(pid: int) -> dict[str, int]:
    """How often each thread has left the CPU, by tid."""
    counts = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        lines = (task / "status").read_text(errors="replace").splitlines()
        counts[task.name] = sum(int(line.split()[1]) for line in lines
                                if "ctxt_switches" in line)
    return counts


def check(told: dict[str, Any], scenario: str, pid: int) -> None:
    """The fault, strong, or nothing; and what a look alone can tell."""
    assert told["target"]["kind"] == "live"
    assert told["target"]["stopped"] is False
    assert told["pause_ns"] is None
    # A search for who refers to a coroutine takes a process that stands.
    if scenario not in FAULTS or scenario == "orphan":
        assert told["findings"] == []
        assert told["status"] in (CLEAN, INCOMPLETE)
        return
    rule, user, heals = FAULTS[scenario]
    assert told["status"] == FINDING
    assert told["incomplete"] == []
    [finding] = told["findings"]
    assert (finding["rule"], finding["user"]) == (rule, user)
    assert finding["certainty"] == "strong"
    assert finding["heals"] == heals
    assert finding["samples"] >= 2
    if scenario in COMMANDS:
        assert finding["waiter_tid"] == pid
    main = thread(told, pid)
    assert main["state"] == "blocked"
    locks = COMMANDS.get(scenario, "").startswith(("x-lock", "x-stop"))
    assert main["blocked_in"] == ("futex" if locks else "ppoll")
    assert functions(main)[-1] == "_start"
    assert main["cut"] is None


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, program: str) -> None:
    """Each fault is named; each healthy twin and each instant is not."""
    with Victim(scenario, program=program) as victim:
        check(report("--no-stop", str(victim.pid)), scenario, victim.pid)
        assert traced_by(victim.pid) == {0}


@pytest.mark.parametrize("scenario", ["idle", "timer-waiting", "erased"])
def test_who_sleeps_sleeps_on(scenario: str) -> None:
    """Not a single context switch comes of it, and all can be read."""
    with Victim(scenario) as victim:
        wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                   "all asleep")
        before = switches(victim.pid)
        told = report("--no-stop", str(victim.pid))
        assert switches(victim.pid) == before
        assert told["incomplete"] == []


def test_no_ptrace() -> None:
    """Not one call of ptrace, and no signal."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")
    if under():
        pytest.skip(f"strace sees the calls of {under()[0]}")
    with Victim("wake-lost") as victim:
        calls = "trace=ptrace,kill,tgkill,tkill,process_vm_writev"
        done = subprocess.run(
            [strace, "-f", "-e", calls, QHANG, "diagnose", "--no-stop",
             str(victim.pid)], capture_output=True, text=True,
            timeout=LIMIT_S, check=False)
    assert done.returncode == FINDING
    assert "not stopped" in done.stdout.splitlines()[0]
    assert [line for line in done.stderr.splitlines() if "(" in line] == []


def test_running_thread_is_told() -> None:
    """A loop's thread that runs has no frames, which is no clean bill."""
    with Victim("runnable") as victim:
        told = report("--no-stop", str(victim.pid))
    assert told["status"] == INCOMPLETE
    main = thread(told, victim.pid)
    assert main["state"] == "runnable"
    assert main["frames"] == []
    [gap] = [g for g in told["incomplete"] if str(victim.pid) in g["what"]]
    assert "--no-stop" in gap["try"]


def test_changing_memory_is_told() -> None:
    """All threads at work: what was read need not fit together."""
    with Victim("busy") as victim:
        told = report("--no-stop", str(victim.pid))
    assert told["findings"] == []
    assert told["status"] == INCOMPLETE


def test_busy_again_and_again() -> None:
    """Never a finding, however often one looks at a busy process."""
    with Victim("busy") as victim:
        for _ in range(15):
            assert report("--no-stop", str(victim.pid))["findings"] == []


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", CIRCLES)
def test_circle(scenario: str, program: str) -> None:
    """A deadlock, of which every member sleeps."""
    with Victim(scenario, program=program) as victim:
        told = report("--no-stop", str(victim.pid))
    assert told["status"] == FINDING
    [finding] = told["findings"]
    assert (finding["rule"], finding["certainty"]) == ("lock.cycle", "strong")
    [cycle] = told["graph"]["cycles"]
    kinds = [told["graph"]["nodes"][i]["kind"] for i in cycle["nodes"]]
    assert sorted(kinds) == sorted(CIRCLES[scenario])


@pytest.mark.parametrize("scenario", CULPRITS)
def test_order_is_clean(scenario: str) -> None:
    """No deadlock; the chain leads to who holds everybody up."""
    with Victim(scenario) as victim:
        told = report("--no-stop", str(victim.pid))
    graph = told["graph"]
    assert told["findings"] == []
    assert CULPRITS[scenario] in graph["nodes"][graph["chain"][-1]]["name"]


def test_thousand_coroutines() -> None:
    """Every one of them, whole: their registers are in memory."""
    with Victim("wake-lost", "--coroutines", "1000") as victim:
        told = report("--no-stop", str(victim.pid))
    check(told, "wake-lost", victim.pid)
    parked = [c for c in told["coroutines"] if c["entry"] == "park_co_entry"]
    assert len(parked) == 1000
    assert {c["cut"] for c in parked} == {None}


def test_default_looks_first_and_says_nothing_of_it() -> None:
    """Where the stop changes nothing, the look before it leaves no trace."""
    with Victim("wake-lost") as victim:
        told = report(str(victim.pid))
        assert told["findings"][0]["certainty"] == "proof"
        assert told["target"]["stopped"] is True
    with Victim("idle") as victim:
        quiet = report(str(victim.pid))
    for one in (told, quiet):
        assert "stop.changed" not in [n["what"] for n in one["context"]]


def test_help_says_what_it_is() -> None:
    """--no-stop stands in --help with its price."""
    assert "--no-stop" in qhang("diagnose", "--help").stdout
