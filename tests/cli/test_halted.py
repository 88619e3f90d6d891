"""A process that somebody else keeps stopped: told, and no hang by itself.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import (CLEAN, FINDING, INCOMPLETE, Victim, qhang, report, task_states,
                      traced_by, wait_until)

WAYS = [pytest.param([], id="stopped"), pytest.param(["--no-stop"], id="looked")]
# Seizes and stops its arguments' threads until its stdin ends.
HOLDER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                        ctypes.c_void_p]
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
for tid in map(int, sys.argv[1:]):
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if libc.ptrace(request, tid, None, None):
            sys.exit(f"cannot trace {tid}: errno {ctypes.get_errno()}")
print("ready", flush=True)
sys.stdin.read()
"""


def await_states(pid: int, states: set[str]) -> None:
    """Until all threads are in these."""
    wait_until(lambda: set(task_states(pid).values()) == states,
               f"{pid} in {states}")


def halt(pid: int) -> None:
    """Stops it by a signal, whole."""
    os.kill(pid, signal.SIGSTOP)
    await_states(pid, {"T"})


@contextmanager
def held(*tids: int) -> Iterator[int]:
    """Threads stopped by a tracer, of which this gives the pid."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, *map(str, tids)],
                          text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == "ready\n"
        for tid in tids:
            wait_until(lambda: state_of(tid) == "t", f"{tid} held")
        yield holder.pid
        holder.communicate()


def state_of(tid: int) -> str:
    """State letter of a thread."""
    stat = Path(f"/proc/{tid}/stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0]


def notes(told: dict[str, Any]) -> list[str]:
    """What is told of the stop."""
    return [note["text"] for note in told["context"]
            if note["what"] == "process.stopped"]


@pytest.mark.parametrize("way", WAYS)
def test_signal(way: list[str]) -> None:
    """In the verdict, with what lets it go on; it is not what qhang did."""
    with Victim("idle") as victim:
        halt(victim.pid)
        told = report(*way, str(victim.pid))
        text = qhang("diagnose", *way, str(victim.pid)).stdout
        await_states(victim.pid, {"T"})
        os.kill(victim.pid, signal.SIGCONT)
        await_states(victim.pid, {"S"})
        after = report(*way, str(victim.pid))
    assert told["status"] == (INCOMPLETE if way else CLEAN)
    assert told["target"]["halted"] == "signal"
    assert told["target"]["held_by"] is None
    [note] = notes(told)
    assert "the process is stopped by a signal" in note
    assert "STOPPED by a signal: no hang found" in text
    assert after["status"] == CLEAN
    assert f"kill -CONT {victim.pid}" in text
    assert "stopped by a signal," in text.splitlines()[0]
    assert after["target"]["halted"] is None
    assert notes(after) == []


def test_hang_stays_one() -> None:
    """A hang that was stopped on top is found, and both are told."""
    with Victim("graph-unkicked") as victim:
        halt(victim.pid)
        told = report(str(victim.pid))
        text = qhang("diagnose", str(victim.pid)).stdout
    assert told["status"] == FINDING
    assert f"after kill -CONT {victim.pid}: qhang kick {victim.pid}" in text
    assert told["findings"][0]["rule"] == "graph.writer-unkicked"
    assert len(notes(told)) == 1


def test_hang_behind_a_look() -> None:
    """A look can't tell whether its threads sleep: that is no clean bill."""
    with Victim("graph-unkicked") as victim:
        halt(victim.pid)
        told = report("--no-stop", str(victim.pid))
    assert told["status"] == INCOMPLETE
    [gap] = told["incomplete"]
    assert gap["what"] == "whether stopped threads sleep"
    assert "without --no-stop" in gap["try"]


def test_notified() -> None:
    """To notify its loops is harmless, and is done; it stays stopped."""
    with Victim("idle") as victim:
        halt(victim.pid)
        done = qhang("kick", "--yes", "--notify-only", str(victim.pid))
        await_states(victim.pid, {"T"})
    assert done.returncode == CLEAN, done.stderr
    assert done.stdout.splitlines()[0].endswith("  stopped by a signal")
    assert "NOTIFIED  4 event loops" in done.stdout


@pytest.mark.parametrize("way", WAYS)
def test_timer_passes(way: list[str]) -> None:
    """Who is stopped serves no timer: that is no finding, nor any change."""
    with Victim("timer-waiting", "--interval", "1") as victim:
        halt(victim.pid)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + 1.5, "it is past")
        told = report(*way, str(victim.pid))
    assert min(t["left_ns"] for t in told["timers"]
               if t["left_ns"] is not None) < 0
    assert told["findings"] == []
    assert "stop.changed" not in [note["what"] for note in told["context"]]


@pytest.mark.parametrize("way", WAYS)
def test_busy(way: list[str]) -> None:
    """Stopped in the middle of its work, wherever that is."""
    with Victim("busy") as victim:
        for _ in range(5):
            halt(victim.pid)
            told = report(*way, str(victim.pid))
            assert told["findings"] == []
            assert told["target"]["halted"] == "signal"
            os.kill(victim.pid, signal.SIGCONT)


def test_tracer() -> None:
    """By its pid and name; without --no-stop it is not even looked at."""
    with Victim("idle") as victim:
        with held(*task_states(victim.pid)) as holder:
            told = report("--no-stop", str(victim.pid))
            text = qhang("diagnose", "--no-stop", str(victim.pid)).stdout
        assert traced_by(victim.pid) == {0}
    assert told["target"]["halted"] == "tracer"
    assert told["target"]["held_by"]["pid"] == holder
    assert told["findings"] == []
    [note] = notes(told)
    assert f"({holder})" in note and "the process is kept stopped" in note
    assert "STOPPED by a tracer" in text
    assert f"({holder})" in text.splitlines()[0]


def test_one_thread() -> None:
    """Gdb in its non-stop mode, say: which part stands still."""
    with Victim("idle") as victim:
        tid = max(task_states(victim.pid))
        with held(tid):
            told = report("--no-stop", str(victim.pid))
    assert told["target"]["halted"] == "tracer"
    [note] = notes(told)
    assert note.startswith(f"1 of {len(told['threads'])} threads")


def test_page(tmp_path: Path) -> None:
    """The HTML report has it where it has the verdict."""
    with Victim("idle") as victim:
        halt(victim.pid)
        qhang("diagnose", "--html", tmp_path / "page.html", str(victim.pid))
    page = (tmp_path / "page.html").read_text()
    assert '<span class="chip warn">STOPPED</span>' in page
    assert "stopped by a signal" in page
