"""kick: where anything is in doubt nothing is written.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import (FAILED, LIMIT_S, QHANG, Victim, refuses, report)
from kicking import (SYS_PIDFD_GETFD, SYS_PROCESS_VM_WRITEV, assert_refused,
                     dry, memory, memory_now, peek, poke, stack_pointers,
                     without)

OTHER_HANGS = ["mutex-cycle", "co-mutex-cycle", "owner-gone", "rcu-stalled",
               "request-lost"]
HEALTHY = ["idle", "timer-waiting", "wake-lost-twin", "drain-waiting"]
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


def test_inside_timer_code(tmp_path: Path) -> None:
    """A thread stands at the entry of timer_mod_ns(), as if just called."""
    with Victim("wake-lost") as victim:
        stacks = stack_pointers(victim.pid)  # all threads still sleep
        script = tmp_path / "script"
        script.write_text(f"""
set pagination off
python
for thread in gdb.selected_inferior().threads():
    if thread.ptid[1] == {_iothread(victim.pid, "io1")}:
        thread.switch()
end
set $back = $pc
set $at = (long)&timer_mod_ns
set $rsp = $rsp - 8
set *(long *)$rsp = $back
set $pc = $at
set *(unsigned short *)$at = 0xfeeb
detach
""")
        subprocess.run(["gdb", "-nx", "-q", "-batch", "-iex",
                        "set debuginfod enabled off", "-p", str(victim.pid),
                        "-x", script], check=True, capture_output=True,
                       timeout=LIMIT_S)
        assert_refused(victim, "inside timer", stacks=stacks)


def _iothread(pid: int, name: str) -> int:
    """The tid of that iothread."""
    return next(thread["tid"] for thread in report(str(pid))["threads"]
                if thread["iothread"] == name)


def test_no_pidfd_getfd() -> None:
    """A sandbox that keeps descriptors from us."""
    with Victim("wake-lost") as victim:
        assert_refused(victim, "descriptor", program=without(
            SYS_PIDFD_GETFD))


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
        assert memory_now(victim.pid) == before
