"""A coroutine that is just being made is none yet, and hides nothing.

SPDX-License-Identifier: GPL-2.0-or-later

From makecontext() on, its stack looks like a coroutine's; a core may be taken
in the middle of it, and a stop may fall there.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import CLEAN, LIMIT_S, VICTIMS, report

# How gdb gets from one step of qemu_coroutine_new() to the next, by what the
# step is called here; and how many coroutines there are then.
STEPS = {
    "stack prepared": (["break makecontext", "run", "finish"], 0),
    "switching": (["catch syscall rt_sigprocmask", "continue"], 0),
    "entered": (["delete", "break *coroutine_trampoline", "continue"], 0),
    "about to save": (["delete", "break __sigsetjmp", "continue"], 0),
    "saved": (["delete", "break siglongjmp", "continue"], 1),
    "made": (["delete", "break qemu_coroutine_switch", "continue"], 1),
}


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
def test_steps(program: str, tmp_path: Path) -> None:
    """A core of each step of the first coroutine's making, all of it read."""
    commands = ["set debuginfod enabled off", "set pagination off"]
    for number, (moves, _) in enumerate(STEPS.values()):
        commands += [*moves, f"gcore {tmp_path}/{number}"]
    done = subprocess.run(
        ["gdb", "-nx", "-q", "-batch",
         *(f"-ex={command}" for command in [*commands, "kill"]),
         "--args", VICTIMS / program, "--scenario", "idle"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=LIMIT_S)
    for number, (step, (_, coroutines)) in enumerate(STEPS.items()):
        core = tmp_path / str(number)
        assert core.exists(), done.stdout + done.stderr
        told = report("--core", core)
        core.unlink()
        assert told["status"] == CLEAN, step
        assert len(told["coroutines"]) == coroutines, step
    assert [c["state"] for c in told["coroutines"]] == ["created"]
