"""Runs gdb with the qhang commands, and takes what each command printed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Sequence

SCRIPT = Path(__file__).resolve().parents[2] / "gdbscripts/qhang-gdb.py"

# A machine that has other things to do, too.
LIMIT_S = 600
INSIDE = Path(__file__).resolve().parent / "inside.py"


def gdb(*target: "str | Path", commands: Sequence[str], python: str = "",
        qhang: "str | Path" = "") -> list[str]:
    """What each command printed; one that fails prints its error.

    They have inside.py's functions.  `qhang` is the program to run, else
    $QHANG.
    """
    runs = [f"source {INSIDE}", f"python\n{python}\nend" if python else "",
            f"source {SCRIPT}"]
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
            check=False, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C",
                 "QHANG": str(qhang or os.environ.get("QHANG", ""))})
    told = done.stdout.split("\n==\n")
    assert len(told) == len(commands) + 2, done.stdout
    return told[1:-1]


def same_stack(coroutine: dict[str, Any],
               seen: Sequence[dict[str, Any]]) -> int:
    """Holds gdb's stack of a coroutine (inside.py) against the report's.

    Frame by frame down to the coroutine's start: the program counters and
    functions of the real frames, and the functions of those and the inlined
    ones together.  Only gdb makes up frames for tail calls.  Returns how many
    frames there were.
    """
    told = coroutine["frames"]
    assert told[-1]["function"] == seen[-1]["function"] == (
        "coroutine_trampoline"), coroutine
    assert ([[f["pc"], f["function"]] for f in told if not f["inline"]]
            == [[f["pc"], f["function"]] for f in seen
                if f["kind"] == "normal"]), coroutine
    assert ([f["function"] for f in told]
            == [f["function"] for f in seen if f["kind"] != "tail"]), coroutine
    return len(told)
