"""kick: where anything is in doubt nothing is written.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import (CLEAN, FAILED, LIMIT_S, QHANG, Victim, qhang, refuses,
                      report, task_states, under, wait_until)
from kicking import (SYS_PIDFD_GETFD, SYS_PROCESS_VM_WRITEV, assert_goes_on,
                     assert_refused, assert_untouched, dry, memory, peek, poke,
                     stack_pointers, without)

OTHER_HANGS = ["mutex-cycle", "co-mutex-cycle", "owner-gone", "rcu-stalled",
               "request-lost"]
HEALTHY = ["idle", "timer-waiting", "wake-lost-twin", "drain-waiting"]
SLEEPS = {"35", "230"}  # nanosleep, clock_nanosleep
NEXT_OFFSET = 32  # of QEMUTimer.next in the victim, held against --dry-run


@pytest.mark.parametrize("scenario", HEALTHY)
def test_healthy(scenario: str) -> None:
    """A process that waits rightly is left alone."""
    with Victim(scenario) as victim:
        assert_refused(victim, "no hang found")


@pytest.mark.parametrize("scenario", OTHER_HANGS)
def test_no_rescue_known(scenario: str) -> None:
    """A hang that nothing written could end."""
    with Victim(scenario) as victim:
        assert_refused(victim, "no rescue is known")


@pytest.mark.parametrize("scenario", ["wake-lost", "bh-unnotified"])
def test_stopped_by_a_signal(scenario: str) -> None:
    """It would not go on, and nobody could see whether it does; then it may be
    kicked again."""
    with Victim(scenario) as victim:
        victim.child.send_signal(signal.SIGSTOP)
        wait_until(lambda: set(task_states(victim.pid).values()) == {"T"},
                   "it is stopped")
        shown = qhang("kick", "--dry-run", str(victim.pid))
        assert_refused(victim, "stopped by a signal",
                       f"try kill -CONT {victim.pid}")
        assert set(task_states(victim.pid).values()) == {"T"}
        victim.child.send_signal(signal.SIGCONT)
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN, done.stdout + done.stderr
        assert_goes_on(victim, scenario)
    assert shown.returncode == FAILED
    assert "REFUSED" in shown.stdout and "notify" not in shown.stdout


def test_healthy_and_stopped() -> None:
    """What it stands still for is no hang, and is told."""
    with Victim("idle") as victim:
        victim.child.send_signal(signal.SIGSTOP)
        wait_until(lambda: set(task_states(victim.pid).values()) == {"T"},
                   "it is stopped")
        told = refuses(FAILED, "kick", "--yes", str(victim.pid),
                       words=("stopped by a signal",))
        victim.child.send_signal(signal.SIGCONT)
        assert_refused(victim, "no hang found")
    assert f"try   kill -CONT {victim.pid}" in told


@pytest.mark.parametrize("to_itself", [True, False])
def test_corrupted_timer_list(to_itself: bool) -> None:
    """A list that runs in a circle, or out of memory."""
    with Victim("wake-lost", "--timers", "1") as victim:
        moved = {at: old for at, old, _ in dry(victim)}
        # The last timer of the list is the sleeper's: its next is NULL.
        ends = [at for at, old in moved.items() if not old]
        assert len(ends) == 1
        timer = ends[0] - NEXT_OFFSET
        assert timer in moved.values()
        poke(victim.pid, ends[0], timer if to_itself else 0xdead0000)
        assert_refused(victim, "circle" if to_itself else "0xdead0000")


class Held:
    """A thread that stands at the entry of timer_mod_ns(), as if just called:
    it spins there."""

    SPIN, RET = b"\xeb\xfe", b"\xc3"

    def __init__(self, pid: int, tid: int, folder: Path) -> None:
        self.pid = pid
        self.tid = tid
        script = folder / "script"
        script.write_text(f"""
set pagination off
python
for thread in gdb.selected_inferior().threads():
    if thread.ptid[1] == {tid}:
        thread.switch()
end
set $back = $pc
set $at = (long)&timer_mod_ns
set $rsp = $rsp - 8
set *(long *)$rsp = $back
set $pc = $at
printf "at=%ld\\n", $at
printf "was=%d\\n", *(unsigned short *)$at
set *(unsigned short *)$at = {int.from_bytes(self.SPIN, "little")}
detach
""")
        told = subprocess.run(
            ["gdb", "-nx", "-q", "-batch", "-iex",
             "set debuginfod enabled off", "-p", str(pid), "-x", script],
            check=True, capture_output=True, text=True, timeout=LIMIT_S).stdout
        self.at, was = (int(re.search(rf"^{name}=(\d+)$", told,
                                      re.MULTILINE)[1])
                        for name in ("at", "was"))
        self.was = was.to_bytes(2, "little")

    def _poke(self, code: bytes) -> None:
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as mem:
            os.pwrite(mem.fileno(), code, self.at)

    def let_go(self) -> None:
        """The function returns at once; then it is as it was."""
        self._poke(self.RET)
        wait_until(lambda: task_states(self.pid)[self.tid] == "S",
                   "the thread sleeps again")
        self._poke(self.was)


def test_inside_timer_code(tmp_path: Path) -> None:
    """As long as a thread stands in timer code nothing is written."""
    with Victim("wake-lost") as victim:
        stacks = stack_pointers(victim.pid)  # all threads still sleep
        Held(victim.pid, _iothread(victim.pid, "io1"), tmp_path)
        assert_refused(victim, "inside timer", stacks=stacks)


def test_leaves_timer_code(tmp_path: Path) -> None:
    """It is refused once, and tried again."""
    with Victim("wake-lost") as victim:
        held = Held(victim.pid, _iothread(victim.pid, "io1"), tmp_path)
        kick = subprocess.Popen(
            [*under(), str(QHANG), "kick", "--yes", str(victim.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert kick.stdout
        for line in kick.stdout:
            if "qhang explain" in line:  # the last one of the finding
                break
        # From here on it sleeps between its attempts alone.
        wait_until(lambda: sleeps(kick.pid), "it has been refused")
        held.let_go()
        told = kick.stdout.read()
        assert kick.wait(LIMIT_S) == CLEAN, told
        assert "UNSTUCK" in told
        assert_goes_on(victim, "wake-lost")


def sleeps(pid: int) -> bool:
    """Whether the process is in nanosleep()."""
    call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    return call in SLEEPS


def _iothread(pid: int, name: str) -> int:
    """The tid of that iothread."""
    return next(thread["tid"] for thread in report(str(pid))["threads"]
                if thread["iothread"] == name)


def test_no_pidfd_getfd() -> None:
    """A sandbox that keeps descriptors from us."""
    with Victim("wake-lost") as victim:
        assert_refused(victim, "descriptor", "run it on the host",
                       program=without(SYS_PIDFD_GETFD))


def test_no_process_vm_writev() -> None:
    """A sandbox that keeps memory from us: the loop wakes up for nothing."""
    with Victim("wake-lost") as victim:
        shown = dry(victim)
        done = subprocess.run(
            [*without(SYS_PROCESS_VM_WRITEV), str(QHANG), "kick", "--yes",
             str(victim.pid)], stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=LIMIT_S, check=False)
        assert done.returncode == FAILED, done.stdout + done.stderr
        assert "REFUSED" in done.stdout
        assert all(peek(victim.pid, at) == old for at, old, _ in shown)


def test_no_permission() -> None:
    """Not ours to trace."""
    def nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)

    with Victim("wake-lost") as victim:
        before = memory(victim.pid)
        refuses(FAILED, "kick", "--yes", str(victim.pid),
                words=("not permitted", "sudo"), preexec_fn=nobody)
        assert_untouched(victim.pid, before)
