"""A poll with a timeout of zero is no sleep, though it looks like one.

SPDX-License-Identifier: GPL-2.0-or-later

A loop with work in its queues polls without waiting before it does that work.
Stopped there it shows the system call, and the restart code, of one that
sleeps: only the timeout tells. (tests/unit/target_arch.c shows it of the
kernel.)
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import CLEAN, FINDING, LIMIT_S, Victim, report
from test_held import Gdb, held

# In the thread of its loop, below all that it uses of its stack: the timespec
# that ppoll is then told to go by.
ZERO = """python
loop = next(thread for thread in gdb.selected_inferior().threads()
            if thread.name == "IO io0")
loop.switch()
gdb.newest_frame().select()
gdb.execute("set var *(long *)($rsp - 4096) = {seconds}")
gdb.execute("set var *(long *)($rsp - 4088) = 0")
gdb.execute("set var $rdx = $rsp - 4096")
"""


@pytest.mark.parametrize("seconds", [0, 1000])
@pytest.mark.parametrize("program", ["victim", "victim-O0"])
def test_timeout(program: str, seconds: int, tmp_path: Path) -> None:
    """Work that is queued is a hang only while its loop sleeps."""
    script = tmp_path / "script.gdb"
    core = tmp_path / "core"
    script.write_text(ZERO.format(seconds=seconds)
                      + f"end\ngcore {core}\nkill\n")
    with Victim("bh-unnotified", program=program) as victim:
        done = subprocess.run(
            ["gdb", "-nx", "-q", "-batch", "-iex", "set debuginfod enabled off",
             "-p", str(victim.pid), "-x", script],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=LIMIT_S)
    assert core.exists(), done.stdout + done.stderr
    told = report("--core", core)
    assert told["status"] == (FINDING if seconds else CLEAN)
    [loop] = [t for t in told["threads"] if t["iothread"] == "io0"]
    assert (loop["state"], loop["blocked_in"]) == \
        (("blocked", "ppoll") if seconds else ("runnable", None))


def zeros(pid: int, start: int) -> int:
    """Where two words of zero stand, from there to the end of the page."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        page = os.pread(memory.fileno(), 4096 - start % 4096, start)
    return next(start + at for at in range(0, len(page) - 15, 8)
                if not any(page[at:at + 16]))


@pytest.mark.parametrize("timeout, certainty", [
    ("none", "proof"), ("zero", None), ("unreadable", "strong")])
def test_handed(timeout: str, certainty: str | None, tmp_path: Path) -> None:
    """The same of a process that gdb holds; where the timespec can't be read,
    it is not sure that the loop sleeps."""
    with Victim("bh-unnotified") as victim, Gdb(victim.pid) as gdb:
        tid = next(task.name for task in
                   Path(f"/proc/{victim.pid}/task").iterdir()
                   if (task / "comm").read_text() == "IO io0\n")
        loop = gdb.registers[tid]
        assert int(loop["rdx"], 16) == 0
        if timeout == "zero":
            loop["rdx"] = hex(zeros(victim.pid, int(loop["rsp"], 16)))
        elif timeout == "unreadable":
            loop["rdx"] = "0x10"
        told = report(*held(victim, gdb.registers, tmp_path))
        gdb.let_go()
    assert [f["certainty"] for f in told["findings"]] \
        == ([certainty] if certainty else [])
    assert told["incomplete"] == []
