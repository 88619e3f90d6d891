"""Has gdb take a core at each step in which a coroutine is made.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Sequence

LIMIT_S = 120


@dataclass(frozen=True)
class Step:
    """A step of qemu_coroutine_new(), how gdb gets there from the one before,
    and how many coroutines there are then."""

    name: str
    moves: tuple[str, ...]
    coroutines: int


STEPS = (
    Step("stack prepared", ("break makecontext", "run", "finish",
                            "set scheduler-locking on"), 0),
    Step("switching", ("catch syscall rt_sigprocmask", "continue"), 0),
    Step("entered", ("delete", "break *coroutine_trampoline", "continue"), 0),
    Step("about to save", ("delete", "break __sigsetjmp", "continue"), 0),
    Step("saved", ("delete", "break siglongjmp", "continue"), 1),
)


def cores(argv: Sequence[str | Path], folder: Path
          ) -> Iterator[tuple[Step, Path]]:
    """Of the first coroutine that the program makes, into `folder`; each core
    goes when the next is asked for."""
    commands = ["set debuginfod enabled off", "set breakpoint pending on",
                "set pagination off"]
    for number, step in enumerate(STEPS):
        commands += [*step.moves, f"gcore {folder}/{number}"]
    done = subprocess.run(
        ["gdb", "-nx", "-q", "-batch",
         *(f"-ex={command}" for command in [*commands, "kill"]),
         "--args", *argv],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=LIMIT_S)
    for number, step in enumerate(STEPS):
        core = folder / str(number)
        assert core.exists(), done.stdout + done.stderr
        yield step, core
        core.unlink()
