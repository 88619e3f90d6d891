"""A poll with a timeout of zero is no sleep, though it looks like one.

SPDX-License-Identifier: GPL-2.0-or-later

A loop with work in its queues polls without waiting before it does that work.
Stopped there it shows the system call, and the restart code, of one that
sleeps: only the timeout tells. (tests/unit/target_arch.c shows it of the
kernel.)
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import CLEAN, FINDING, LIMIT_S, Victim, report

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
