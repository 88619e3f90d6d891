"""A process that gdb holds: read without attaching, with gdb's registers.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from conftest import (CHECKOUT, FAILED, FINDING, INCOMPLETE, LIMIT_S, VERDICTS,
                      Victim, qhang, refuses, report, task_states, traced_by,
                      wait_until)
from test_diagnose import DUMPABLE, FAULTS, OF_CORES, check

Registers = dict[str, dict[str, Any]]


class Gdb:
    """gdb, holding a process; `run` is a thread that it lets run."""

    def __init__(self, pid: int, run: int | None = None) -> None:
        self.child = subprocess.Popen(
            ["gdb", "-nx", "-q", "-batch", "-iex",
             "set debuginfod enabled off", "-iex", "set auto-load off", "-x",
             CHECKOUT / "tests/cli/hold_gdb.py"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "HOLD_PID": str(pid),
                 "HOLD_RUN": str(run or "")})
        self.registers = self._told("HELD")
        if run:
            wait_until(lambda: task_states(pid)[run] != "t", "one runs")

    def _told(self, what: str) -> Any:
        """What gdb prints behind that word."""
        assert self.child.stdout
        lines = []
        for line in self.child.stdout:
            lines.append(line)
            if line.startswith(f"{what} "):
                return json.loads(line.split(" ", 1)[1])
        pytest.fail(f"gdb said no {what}: {''.join(lines)}")

    def frames(self) -> dict[str, list[list[str]]]:
        """pc and sp of each thread's frames, by tid."""
        assert self.child.stdin
        self.child.stdin.write("frames\n")
        self.child.stdin.flush()
        return self._told("FRAMES")

    def let_go(self) -> Registers:
        """Detaches; gives the registers as they were last."""
        assert self.child.stdin
        self.child.stdin.close()
        last = self._told("GOES")
        self.child.stdin = None
        self.child.communicate(timeout=LIMIT_S)
        assert self.child.returncode == 0
        return last

    def __enter__(self) -> "Gdb":
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def held(victim: Victim, registers: Any, folder: Path) -> list[str | Path]:
    """qhang's arguments; `registers` goes into a file as it is, or as JSON."""
    path = folder / "registers.json"
    path.write_text(registers if isinstance(registers, str)
                    else json.dumps(registers))
    return [str(victim.pid), "--registers", path]


def without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    """The object with these members taken off."""
    return {name: value for name, value in item.items() if name not in names}


def findings(told: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings without what time moves."""
    return [{**without(f, "heals_in_ns", "samples"),
             "evidence": [(e["address"], e["value"]) for e in f["evidence"]]}
            for f in told["findings"]]


def memory_of(pid: int) -> str:
    """A digest of all memory that the process could write to."""
    digest = hashlib.sha256()
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(word, 16) for word in span.split("-"))
                memory.seek(start)
                while start < end:
                    piece = memory.read(min(end - start, 1 << 20))
                    assert piece, line
                    digest.update(piece)
                    start += len(piece)
    return digest.hexdigest()


@pytest.mark.parametrize("program, scenario", OF_CORES)
def test_verdict(program: str, scenario: str, tmp_path: Path) -> None:
    """The verdict that the scenario calls for, from one sample, and gdb keeps
    the process; it goes on when gdb lets it."""
    with Victim(scenario, program=program) as victim:
        with Gdb(victim.pid) as gdb:
            told = report(*held(victim, gdb.registers, tmp_path))
            assert set(task_states(victim.pid).values()) == {"t"}
            assert traced_by(victim.pid) == {gdb.child.pid}
            gdb.let_go()
        check(told, scenario, victim)
        assert told["target"]["kind"] == "held"
        assert told["target"]["held_by"] == {"pid": gdb.child.pid,
                                             "name": "gdb"}
        assert told["samples"] == 1
        assert told["pause_ns"] is None
        wait_until(lambda: not {"t", "T"} & set(
            task_states(victim.pid).values()), "goes on")
        check(report(str(victim.pid)), scenario, victim)


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
@pytest.mark.parametrize("scenario", [
    "idle", *(name for name in FAULTS if name in DUMPABLE)])
def test_one_truth(scenario: str, program: str, tmp_path: Path) -> None:
    """Held, it says what it says live and of a core, to the last frame."""
    with Victim(scenario, program=program) as victim:
        report(str(victim.pid))  # a first stop makes restart_syscall of poll
        live = report(str(victim.pid))
        with Gdb(victim.pid) as gdb:
            told = report(*held(victim, gdb.registers, tmp_path))
            gdb.let_go()
        core = report("--core", victim.gcore(tmp_path))
    for name in ("contexts", "coroutines", "graph_lock", "bql_owner",
                 "qmp_command"):
        assert told[name] == live[name], name
    # What moves between samples only several of them tell.
    assert told["context"] == [note for note in live["context"]
                               if not note["what"].startswith("progress.")]
    # gdb has made all threads run: when one last ran before is not known.
    assert told["blocked_source"] in (live["blocked_source"], None)
    for name in ("coroutines", "graph_lock", "qmp_command"):
        assert told[name] == core[name], name
    for other in (live, core):
        assert findings(told) == findings(other)
        for name, moved in (("sleepers", "timer_left_ns"),
                            ("timers", "left_ns"),
                            ("threads", "name")):  # a core knows one of them
            assert [without(item, moved) for item in told[name]] \
                == [without(item, moved) for item in other[name]], name


def test_nothing_is_changed(tmp_path: Path) -> None:
    """Not a byte of its memory, nor a register."""
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        before = memory_of(victim.pid)
        assert report(*held(victim, gdb.registers, tmp_path))["findings"]
        assert memory_of(victim.pid) == before
        assert gdb.let_go() == gdb.registers


def physical(frames: list[dict[str, Any]]) -> list[list[str]]:
    """pc and sp of the frames, each once however much is inlined there."""
    return [[f["pc"], f["sp"]] for f in frames if not f["inline"]]


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
def test_frames_are_those_of_gdb(program: str, tmp_path: Path) -> None:
    """The same places of code and stack, to the end of each thread."""
    with Victim("wake-lost", program=program) as victim, \
            Gdb(victim.pid) as gdb:
        told = report(*held(victim, gdb.registers, tmp_path))
        theirs = gdb.frames()
    assert {str(t["tid"]): physical(t["frames"]) for t in told["threads"]} \
        == theirs


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
def test_registers_of_coroutines(program: str) -> None:
    """Each has its own, and its backtrace begins where they lead."""
    with Victim("wake-lost", program=program) as victim:
        coroutines = report(str(victim.pid))["coroutines"]
    assert len(coroutines) > 2
    for coroutine in coroutines:
        registers = {name: int(value, 16)
                     for name, value in coroutine["registers"].items()}
        first = coroutine["frames"][0]
        assert first["function"] == "qemu_coroutine_switch"
        assert registers["rip"] == int(first["pc"], 16)
        assert registers["rsp"] == int(first["sp"], 16)
        start = int(coroutine["stack_start"], 16)
        assert start < registers["rsp"] < start + coroutine["stack_bytes"]


def test_text_and_standard_input(tmp_path: Path) -> None:
    """Registers from stdin; the text report names the holder."""
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        path = tmp_path / "registers"
        path.write_text(json.dumps(gdb.registers, indent=1))
        with path.open() as stdin:
            done = qhang("diagnose", str(victim.pid), "--registers", "-",
                         stdin=stdin)
    assert done.returncode == FINDING
    assert f"held by gdb ({gdb.child.pid})" in done.stdout.splitlines()[0]


def test_time_stands_still(tmp_path: Path) -> None:
    """A timer that expires while gdb holds the process is not overdue."""
    if not Path("/proc/self/sched").exists():
        pytest.skip("this kernel does not tell when a thread last ran")
    with Victim("wake-lost", "--interval", "5") as victim, \
            Gdb(victim.pid) as gdb:
        target = held(victim, gdb.registers, tmp_path)
        [first] = report(*target)["sleepers"]
        wait_until(lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC)
                   > first["expire_ns"], "the timer expires")
        told = report(*target)
        [later] = told["sleepers"]
    assert told["findings"][0]["heals"] == "timer"
    assert 0 < later["timer_left_ns"] <= 5 * 10**9


def signed(value: str) -> int:
    """A register as gdb's Python has it."""
    number = int(value, 16)
    return number - 2**64 if number >= 2**63 else number


def test_numbers_may_be_integers(tmp_path: Path) -> None:
    """Registers as signed integers, and more of them than are needed."""
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        numbers = {tid: {**{name: signed(value)
                            for name, value in thread.items()},
                         "eflags": "whatever"}
                   for tid, thread in gdb.registers.items()}
        told = report(*held(victim, numbers, tmp_path))
        assert told["status"] == FINDING
        assert told["complete"]


def test_stopped_by_a_signal(tmp_path: Path) -> None:
    """One that stands, but that no tracer holds any more."""
    with Victim("wake-lost") as victim:
        with Gdb(victim.pid) as gdb:
            gdb.let_go()
        os.kill(victim.pid, signal.SIGSTOP)
        wait_until(lambda: set(task_states(victim.pid).values()) == {"T"},
                   "stopped")
        told = report(*held(victim, gdb.registers, tmp_path))
        assert told["target"]["kind"] == "held"
        assert told["target"]["held_by"] is None
        assert told["status"] == FINDING


# --- what is not all there --------------------------------------------------

def gaps(told: dict[str, Any]) -> dict[str, str]:
    """Reasons by what could not be read."""
    return {gap["what"]: gap["reason"] for gap in told["incomplete"]}


def test_thread_is_missing(tmp_path: Path) -> None:
    """A thread that is not told is incomplete, and no other."""
    with Victim("idle") as victim, Gdb(victim.pid) as gdb:
        tid = max(gdb.registers, key=int)
        told = report(*held(victim, without(gdb.registers, tid), tmp_path))
    assert told["status"] == INCOMPLETE
    assert gaps(told) == {
        f"registers of thread {tid}": "its registers were not handed in"}
    [thread] = [t for t in told["threads"] if str(t["tid"]) == tid]
    assert thread["frames"] == []
    assert thread["cut"] == "its registers were not handed in"
    assert all(t["frames"] for t in told["threads"] if t is not thread)


def test_all_threads_are_missing(tmp_path: Path) -> None:
    """Never clean."""
    with Victim("idle") as victim, Gdb(victim.pid):
        assert report(*held(victim, {}, tmp_path))["status"] == INCOMPLETE


@pytest.mark.parametrize("name", ["rip", "rsp", "rax", "r10", "fs_base",
                                  "orig_rax"])
def test_register_is_missing(name: str, tmp_path: Path) -> None:
    """Incomplete, by name; and no hang rests on what is not known."""
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        main = str(victim.pid)
        registers = {**gdb.registers, main: without(gdb.registers[main], name)}
        told = report(*held(victim, registers, tmp_path))
    assert not told["complete"]
    assert gaps(told)[f"registers of thread {main}"] \
        == f"not handed in: {name}"
    assert all(f["certainty"] != "proof" for f in told["findings"])


# --- what is refused --------------------------------------------------------

def test_not_held(tmp_path: Path) -> None:
    """A process that runs has no registers to tell."""
    with Victim("wake-lost") as victim:
        with Gdb(victim.pid) as gdb:
            gdb.let_go()
        wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                   "goes on")
        refuses(FAILED, "diagnose", *held(victim, gdb.registers, tmp_path),
                words=(str(victim.pid), "not held", "leave --registers out"))
        assert traced_by(victim.pid) == {0}


def test_one_thread_runs(tmp_path: Path) -> None:
    """Names the one that runs, told or not."""
    with Victim("wake-lost") as victim:
        tid = max(task_states(victim.pid))
        with Gdb(victim.pid, run=tid) as gdb:
            assert str(tid) in gdb.registers
            for registers in (gdb.registers, without(gdb.registers, str(tid))):
                refuses(FAILED, "diagnose",
                        *held(victim, registers, tmp_path),
                        words=(f"thread {tid}", "not held", "interrupt -a"))


def test_thread_is_not_there(tmp_path: Path) -> None:
    """A tid that the process does not have: another's registers, or old."""
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        registers = {**gdb.registers, "1": gdb.registers[str(victim.pid)]}
        refuses(FAILED, "diagnose", *held(victim, registers, tmp_path),
                words=("no thread 1", str(victim.pid)))


@pytest.mark.parametrize("name", ["rip", "rsp"])
def test_registers_of_another_moment(name: str, tmp_path: Path) -> None:
    """Those that the kernel does not have now."""
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        main = str(victim.pid)
        old = {**gdb.registers[main],
               name: hex(int(gdb.registers[main][name], 16) + 8)}
        refuses(FAILED, "diagnose",
                *held(victim, {**gdb.registers, main: old}, tmp_path),
                words=(f"thread {main}", name, old[name]))


@pytest.mark.parametrize("content, words", [
    ("", ("line 1, column 1",)),
    ("{", ("too early",)),
    ('{"7": {\n "rip": "0x1",\n oops}}', ("line 3, column 2",)),
    ("{} {}", ("line 1, column 4",)),
    ("{}\0", ("NUL",)),
    ("[]", ("no object",)),
    ("7", ("no object",)),
    ("[" * 100000, ("line 1",)),
    ('{"x": {}}', ("no tid: x",)),
    ('{"07": {}}', ("no tid: 07",)),
    ('{"-7": {}}', ("no tid: -7",)),
    ('{"99999999999": {}}', ("no tid",)),
    ('{"7": []}', ("thread 7: no object",)),
    ('{"7": null}', ("thread 7: no object",)),
    ('{"7": {}, "7": {}}', ("thread 7", "twice")),
    ('{"7": {"rip": "0x1", "rsp": "0x1", "rip" : "0x1"}}',
     ("register rip", "twice")),
    *((f'{{"7": {{"r8": {value}}}}}', ("thread 7, r8",)) for value in (
        '""', '"0x"', '"12"', '"0xg"', '"0x1 "', '"0x12345678901234567"',
        "1.5", "null", "true", "[]", "{}", "9" * 30, "-" + "9" * 30, 2**64)),
    ('{"7": {"orig_rax": "nonsense"}}', ("thread 7, orig_rax",)),
    ('{"\x1b[31m": {}}', ("no tid: \\x1b[31m",)),
    (" " * (8 << 20) + "{}", ("8 MiB",)),
], ids=lambda value: repr(value)[:40])
def test_bad_registers(content: str, words: tuple[str, ...],
                       tmp_path: Path) -> None:
    """Says what is wrong, and where."""
    path = tmp_path / "registers"
    path.write_text(content)
    told = refuses(FAILED, "diagnose", str(os.getpid()), "--registers", path,
                   words=(*words, str(path)))
    assert all(c.isprintable() or c == "\n" for c in told)


def test_no_file(tmp_path: Path) -> None:
    """A folder, a pipe, a device, nothing; and standard input that is bad."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero"),
                 tmp_path / "none"):
        refuses(FAILED, "diagnose", "1", "--registers", path,
                words=(str(path), "standard input"))
    refuses(FAILED, "diagnose", "1", "--registers", "-",
            words=("standard input", "too early"))
    with Path("/dev/zero").open("rb") as endless:
        refuses(FAILED, "diagnose", "1", "--registers", "-",
                words=("standard input", "8 MiB"), stdin=endless)


def damage(text: str) -> list[str]:
    """The registers with some bytes changed, many times."""
    random.seed(3)
    changes: list[Callable[[str, int], str]] = [
        lambda s, at: s[:at] + random.choice('{}[]":,0x7\\ ') + s[at + 1:],
        lambda s, at: s[:at],
        lambda s, at: s[:at] + s[at // 2:],
    ]
    return [random.choice(changes)(text, random.randrange(len(text)))
            for _ in range(100)]


def test_damaged_registers(tmp_path: Path) -> None:
    """A verdict or an error, and the process stays as it is."""
    seen = set()
    with Victim("wake-lost") as victim, Gdb(victim.pid) as gdb:
        for text in damage(json.dumps(gdb.registers)):
            done = qhang("diagnose", *held(victim, text, tmp_path))
            assert done.returncode in VERDICTS
            seen.add(done.returncode)
        assert gdb.let_go() == gdb.registers
    assert FAILED in seen
