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
from gdbrun import FRAMES

# The SHA-256 of all writable memory and of every thread's registers, by gdb's
# own means.
STATE = """
import gdb, hashlib
def state():
    inferior = gdb.selected_inferior()
    told = hashlib.sha256()
    for line in open(f"/proc/{inferior.pid}/maps"):
        words = line.split()
        if words[1].startswith("rw") and "[v" not in line:
            start, end = (int(w, 16) for w in words[0].split("-"))
            told.update(inferior.read_memory(start, end - start))
    before = gdb.selected_thread()
    frame = gdb.selected_frame()
    for thread in inferior.threads():
        thread.switch()
        for name in gdb.newest_frame().architecture().registers("general"):
            told.update(str(gdb.newest_frame().read_register(name)).encode())
    before.switch()
    frame.select()
    return told.hexdigest(), before.num, frame.level()
"""


def gdb(*target: "str | Path", commands: list[str],
        python: str = "") -> list[str]:
    """What each command printed."""
    return gdbrun.gdb(*target, commands=commands, python=python, qhang=QHANG)


@pytest.fixture(name="hung", scope="module")
def fixture_hung() -> Iterator[Victim]:
    """A victim whose wake-up was lost."""
    with Victim("wake-lost") as victim:
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
    for name in names:
        table, variable = gdb(*target, commands=[f"qhang {name}",
                                                 "output/x $q1"])
        lines = table.strip().splitlines()
        assert len(lines) == len(report[name]) + 1, table
        assert max(map(len, lines)) <= 80
        first = (report[name][0].get("address")
                 or report[name][0].get("coroutine")
                 or hex(report[name][0]["tid"]))
        assert variable.strip() == first


def test_each_coroutine(target: list[str]) -> None:
    """Going into each suspended coroutine shows the frames that the program
    has found, one by one."""
    report = report_of(target)
    seen = 0
    for number, coroutine in enumerate(report["coroutines"], 1):
        if not coroutine["registers"]:
            continue
        _, told, bt = gdb(*target, python=FRAMES, commands=[
            f"qhang coroutine {number}",
            "python import json; print(json.dumps(list(frames())))", "bt"])
        wanted = [[f["pc"], f["function"]] for f in coroutine["frames"]
                  if not f["inline"] and f["function"]]
        assert json.loads(told)[:len(wanted)] == wanted
        assert f"[coroutine {coroutine['entry']}]" in bt
        seen += 1
    assert seen >= 3


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


@pytest.mark.parametrize("frame, command", [
    *((1, f"qhang {name}") for name in ("diagnose", "threads", "contexts",
                                        "coroutines", "sleepers", "timers")),
    (1, "qhang coroutine apply all bt"),
    (1, "qhang coroutine apply all no-such-command"),
    # Back from a view, the thread's innermost frame is selected.
    (0, "qhang coroutine 1\nbt\nup\nqhang thread"),
])
def test_nothing_changes(hung: Victim, frame: int, command: str) -> None:
    """Memory, registers, thread and frame are what they were, also after a
    command that fails inside a view."""
    told = gdb("-p", str(hung.pid), python=STATE, commands=[
        "thread 2", f"frame {frame}", "python before = state()",
        *command.split("\n"), "python print(before == state(), state())"])
    assert told[-1].startswith("True"), told[-1]
    assert ("Undefined command" in told[-2]) == ("no-such" in command)


def test_goes_on(hung: Victim) -> None:
    """The view ends when the process goes on, and the victim is as hung as
    it was."""
    told = gdb("-p", str(hung.pid), commands=[
        "qhang coroutine 1", "bt 1", f"shell kill -INT {hung.pid}",
        "continue", "bt 1", "signal 0 &"])
    assert "[coroutine" in told[1]
    assert "SIGINT" in told[3] and "[coroutine" not in told[4]
    assert report_of(["-p", str(hung.pid)])["findings"]


@pytest.mark.parametrize("command, told", [
    ("qhang coroutine", "which one?"),
    ("qhang coroutine 99", "no coroutine 99"),
    ("qhang coroutine apply some bt", "apply all COMMAND"),
    ("print $qhang_sleeper(99)", "no sleeper 99"),
])
def test_mistakes(hung: Victim, command: str, told: str) -> None:
    """A mistake is told in a line that says what to do."""
    assert told in gdb("-p", str(hung.pid), commands=[command])[0]


def test_nothing_to_look_at() -> None:
    """Without a process it says how to get one."""
    assert "attach PID" in gdb("/bin/true", commands=["qhang diagnose"])[0]


def test_help() -> None:
    """Each command has its online help."""
    told = gdb("/bin/true", commands=["help qhang", "help qhang coroutine",
                                      "help qhang timers"])
    assert all("Example" in text or "$q1" in text for text in told)
