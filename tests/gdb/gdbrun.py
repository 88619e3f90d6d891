"""Runs gdb with the qhang commands, and takes what each command printed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

SCRIPT = Path(__file__).resolve().parents[2] / "gdbscripts/qhang-gdb.py"

# The real frames behind the thread's own: gdb makes up those of tail calls, and
# of inlined functions it knows no more than the program does.
FRAMES = """
import gdb
def frames():
    frame = gdb.newest_frame().older()
    while frame and frame.is_valid():
        if frame.type() == gdb.NORMAL_FRAME:
            yield hex(frame.pc()), frame.name()
        frame = frame.older()
"""


def gdb(*target: "str | Path", commands: Sequence[str], python: str = "",
        qhang: "str | Path" = "") -> list[str]:
    """What each command printed; one that fails prints its error.

    `qhang` is the program to run, else $QHANG.
    """
    runs = [f"python\n{python}\nend" if python else "", f"source {SCRIPT}"]
    for command in commands:
        runs += ["echo \\n==\\n", "python",
                 f"try:\n gdb.execute({command!r})",
                 "except gdb.error as e: print('error:', e)", "end"]
    with tempfile.NamedTemporaryFile("w", suffix=".gdb") as script:
        script.write("\n".join([*runs, "echo \\n==\\n"]) + "\n")
        script.flush()
        done = subprocess.run(
            ["gdb", "-nx", "-q", "-batch", "-iex",
             "set debuginfod enabled off", "-ex", "set width 0",
             *map(str, target), "-x", script.name],
            check=False, text=True, timeout=120, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C",
                 "QHANG": str(qhang or os.environ.get("QHANG", ""))})
    told = done.stdout.split("\n==\n")
    assert len(told) == len(commands) + 2, done.stdout
    return told[1:-1]
