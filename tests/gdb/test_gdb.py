"""gdbscripts/qhang-gdb.py on victims: tables, views, and nothing changed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "tests/cli")]

# pylint: disable=wrong-import-position
from conftest import QHANG, Victim
import gdbrun

def gdb(*target: "str | Path", commands: list[str],
        python: str = "") -> list[str]:
    """What each command printed."""
    return gdbrun.gdb(*target, commands=commands, python=python, qhang=QHANG)


@pytest.fixture(name="hung", scope="module", params=["victim", "victim-O0"])
def fixture_hung(request: pytest.FixtureRequest) -> Iterator[Victim]:
    """A victim whose wake-up was lost."""
    with Victim("wake-lost", program=request.param) as victim:
        yield victim


@pytest.fixture(name="core", scope="module")
def fixture_core(hung: Victim, tmp_path_factory: pytest.TempPathFactory
                 ) -> Path:
    """Its core."""
    return hung.gcore(tmp_path_factory.mktemp("core"))


@pytest.fixture(name="target", params=["live", "core"])
def fixture_target(request: pytest.FixtureRequest, hung: Victim
                   ) -> list[str]:
    """gdb's arguments for the process, and for its core."""
    exe = str(Path(f"/proc/{hung.pid}/exe").resolve())
    if request.param == "live":
        return ["-p", str(hung.pid)]
    return [exe, str(request.getfixturevalue("core"))]


def report_of(target: list[str]) -> dict[str, Any]:
    """What the program says by itself."""
    what = (["--core", target[1], "--exe", target[0]]
            if target[0] != "-p" else [target[1]])
    done = subprocess.run([QHANG, "diagnose", "--json", *what], check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_diagnose(target: list[str]) -> None:
    """The finding, as the program tells it."""
    told, = gdb(*target, commands=["qhang diagnose"])
    assert "sleep.wake-lost" in told


def test_graph(target: list[str]) -> None:
    """The chain from the main thread to the sleeper and its timer."""
    told = gdb(*target, commands=["qhang graph"])[0].strip().splitlines()
    graph = report_of(target)["graph"]
    names = [graph["nodes"][node]["name"] for node in graph["chain"]]
    assert told[0] == "chain:"
    assert len(told) == len(names) + 1 >= 4
    assert told[1].strip() == names[0]
    for line, name in list(zip(told[1:], names))[1:-1]:
        assert line.endswith(f" {name}")
    assert "timer" in told[-1]  # how long it runs differs


def test_graph_of_a_circle() -> None:
    """Around the circle and back to where it began."""
    with Victim("mutex-cycle") as victim:
        told = gdb("-p", str(victim.pid), commands=["qhang graph"])[0]
    lines = told.strip().splitlines()
    assert lines[0] == "circle 1, proof:"
    assert lines[1].strip() in lines[5]
    assert lines[6] == "chain:"
    assert lines[7].strip() == f"main thread {victim.pid}"


def test_tables(target: list[str]) -> None:
    """Every object of the report has a row, within 80 columns, and a
    variable that points to it."""
    report = report_of(target)
    names = ("threads", "contexts", "coroutines", "sleepers", "timers")
    told = gdb(*target, commands=[
        command for name in names for command in (f"qhang {name}",
                                                  "output/x $q1")])
    for name, table, variable in zip(names, told[::2], told[1::2]):
        lines = table.strip().splitlines()
        assert len(lines) == len(report[name]) + 1, table
        assert max(map(len, lines)) <= 80
        first = (report[name][0].get("address")
                 or report[name][0].get("coroutine")
                 or hex(report[name][0]["tid"]))
        assert variable.strip() == first


def test_each_coroutine(target: list[str]) -> None:
    """Going into each suspended coroutine shows the frames that the program
    has found, one by one, inlined ones too, and bt ends where it began."""
    report = report_of(target)
    seen = [c for c in report["coroutines"] if c["registers"]]
    assert len(seen) >= 3
    told = gdb(*target, commands=[
        f"python tell(stacks({[c['address'] for c in seen]}))",
        *(command for c in seen for command in (
            f"qhang coroutine {c['address']}", "bt"))])
    stacks = json.loads(told[0])
    for coroutine, bt in zip(seen, told[2::2]):
        gdbrun.same_stack(coroutine, stacks[coroutine["address"]])
        lines = [line for line in bt.splitlines() if line.startswith("#")]
        assert f"[coroutine {coroutine['entry']}]" in lines[0]
        assert "coroutine_trampoline" in lines[-1]


def test_locals_and_arguments(target: list[str]) -> None:
    """In a frame of the sleeper, its arguments have their values."""
    sleeper = report_of(target)["sleepers"][0]
    told = gdb(*target, commands=[
        f"qhang coroutine {sleeper['coroutine']}",
        "frame function qemu_co_sleep_ns_wakeable", "info args",
        "output/x ts.opaque", "p *w"])
    assert "type = QEMU_CLOCK_REALTIME" in told[2]
    assert told[3].strip() == sleeper["wake_address"]
    assert f"QemuCoSleep of coroutine {sleeper['coroutine']}" in told[4]


def test_functions(target: list[str]) -> None:
    """$qhang_coroutine() and $qhang_sleeper() are typed pointers."""
    report = report_of(target)
    told = gdb(*target, commands=["output/x $qhang_coroutine(1)",
                                  "output/x $qhang_sleeper(1)",
                                  "print $qhang_sleeper(1)"])
    assert told[0].strip() == report["coroutines"][0]["address"]
    assert told[1].strip() == report["sleepers"][0]["coroutine"]
    assert "(struct Coroutine *)" in told[2]


def test_other_threads(hung: Victim) -> None:
    """While a coroutine is viewed, other threads' stacks are whole."""
    whole, _, viewed = gdb("-p", str(hung.pid), commands=[
        "thread apply 2 bt", "qhang coroutine 1", "thread apply 2 bt"])
    assert "#0 " in whole
    assert viewed == whole


# Each with its error.
COMMANDS = {
    **{f"qhang {name}": "" for name in ("diagnose", "threads", "contexts",
                                        "coroutines", "sleepers", "timers")},
    "qhang coroutine apply all bt": "",
    "qhang coroutine apply all thread 1": "",
    "qhang coroutine apply all no-such-command": "Undefined command",
    "qhang coroutine apply all ctrl-c": "KeyboardInterrupt",
    "qhang coroutine 99": "no coroutine 99",
}


@pytest.mark.parametrize("place", [["frame 1"],
                                   ["qhang coroutine 1", "frame 3"]])
def test_nothing_changes(hung: Victim, place: list[str]) -> None:
    """Memory, registers, thread and frame are what they were, also after a
    command that fails, or is broken off, inside a view."""
    told = gdb("-p", str(hung.pid), commands=[
        "thread 2", *place, *(f"python tell(compare({command!r}))"
                              for command in COMMANDS)])
    for told_of, error in zip(told[1 + len(place):], COMMANDS.values()):
        # gdb itself tells of a thread that was selected, past to_string.
        seen = json.loads(told_of.splitlines()[-1])
        assert seen["changed"] == [], seen
        assert error in seen["error"] if error else not seen["error"], seen
        assert seen["bytes"] > 10 << 20 and seen["registers"] > 100


def test_there_and_back(hung: Victim) -> None:
    """After a look at a coroutine the thread is as it was."""
    told = gdb("-p", str(hung.pid), commands=[
        "thread 2", "python before = state()", "qhang coroutine 1", "bt",
        "up", "info locals", "qhang thread",
        "python tell([before == state(), len(before['registers'])])"])
    same, threads = json.loads(told[-1])
    assert same and threads >= 3


def test_goes_on(hung: Victim) -> None:
    """The view ends when the process goes on, and the victim is as hung as
    it was."""
    told = gdb("-p", str(hung.pid), commands=[
        "qhang coroutine 1", "bt 1", f"shell kill -INT {hung.pid}",
        "continue", "bt 1", "signal 0 &"])
    assert "[coroutine" in told[1]
    assert "SIGINT" in told[3] and "[coroutine" not in told[4]
    assert report_of(["-p", str(hung.pid)])["findings"]


MISTAKES = {
    "qhang coroutine": "which one?",
    "qhang coroutine 99": "no coroutine 99",
    "qhang coroutine apply some bt": "apply all COMMAND",
    "print $qhang_sleeper(99)": "no sleeper 99",
}


def test_mistakes(hung: Victim) -> None:
    """A mistake is told in a line that says what to do."""
    told = gdb("-p", str(hung.pid), commands=list(MISTAKES))
    for line, wanted in zip(told, MISTAKES.values()):
        assert wanted in line


def test_nothing_to_look_at() -> None:
    """Without a process it says how to get one."""
    assert "attach PID" in gdb("/bin/true", commands=["qhang diagnose"])[0]


def test_help() -> None:
    """Each command has its online help."""
    told = gdb("/bin/true", commands=["help qhang", "help qhang coroutine",
                                      "help qhang timers"])
    assert all("Example" in text or "$q1" in text for text in told)
