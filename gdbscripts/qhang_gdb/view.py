"""A suspended coroutine in place of the selected thread's stack.

SPDX-License-Identifier: GPL-2.0-or-later

While a coroutine is viewed, an unwinder claims the thread's innermost frame
and says that its caller is the coroutine, as its registers were when it was
left.  So frame 1 is the coroutine's innermost one, and bt, up, info locals
work; no register and no memory is written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Iterator, Optional

import gdb
from gdb.unwinder import Unwinder, register_unwinder

from . import program

# What a coroutine keeps (sigsetjmp on x86-64), as in coroutines[].registers.
SAVED = ("rbx", "rbp", "r12", "r13", "r14", "r15", "rsp", "rip")


class _FrameId:
    """As gdb wants it: a stack address and a program counter."""

    def __init__(self, sp: gdb.Value, pc: gdb.Value) -> None:
        self.sp = sp
        self.pc = pc


class View:
    """One coroutine, seen from one thread."""

    def __init__(self, coroutine: dict[str, Any]) -> None:
        thread = gdb.selected_thread()
        program.check_stopped(thread)
        frame = gdb.newest_frame()
        self.coroutine = coroutine
        self.thread = thread.global_num
        self.rsp = int(frame.read_register("rsp"))
        self.rip = int(frame.read_register("rip"))


_view: Optional[View] = None
# How often a process was let go on.
_resumed = 0


class CoroutineUnwinder(Unwinder):
    """Leads from the thread's innermost frame to the viewed coroutine."""

    def __init__(self) -> None:
        super().__init__("qhang-coroutine")

    def __call__(self, pending: Any) -> Any:
        if _view is None:
            return None
        thread = gdb.selected_thread()
        if (not thread or thread.global_num != _view.thread
                or int(pending.read_register("rsp")) != _view.rsp
                or int(pending.read_register("rip")) != _view.rip):
            return None
        word = gdb.lookup_type("unsigned long")
        registers = {name: gdb.Value(int(text, 16)).cast(word)
                     for name, text in _view.coroutine["registers"].items()}
        # Below the coroutine's own frames, else gdb takes its stack for
        # corrupt.
        below = gdb.Value(int(registers["rsp"]) - 256).cast(word)
        info = pending.create_unwind_info(
            _FrameId(below, gdb.Value(_view.rip).cast(word)))
        for name in SAVED:
            info.add_saved_register(name, registers[name])
        return info


def load() -> None:
    """Registers the unwinder; a resumption ends the view."""
    register_unwinder(None, CoroutineUnwinder(), replace=True)
    for event in (gdb.events.cont, gdb.events.exited):
        event.connect(leave)


def viewed() -> Optional[View]:
    """What is viewed now."""
    return _view


def show(view: Optional[View]) -> None:
    """Makes it the view; None: the thread itself again."""
    global _view
    program.check_stopped(gdb.selected_thread())
    gdb.invalidate_cached_frames()
    _view = view
    gdb.invalidate_cached_frames()
    frame = gdb.newest_frame()
    if view:
        frame = frame.older() or frame
    frame.select()


@contextmanager
def kept() -> Iterator[Callable[[], None]]:
    """What is viewed, thread and frame are afterwards what they were.

    What it yields selects the thread again, for the next view; GdbError once
    the process went on, when there is nothing to go back to either."""
    thread = gdb.selected_thread()
    program.check_stopped(thread)
    before = viewed()
    level = gdb.selected_frame().level()
    resumed = _resumed

    def still_there() -> None:
        if _resumed != resumed or not thread.is_valid():
            raise gdb.GdbError("the command let the process go on: its "
                               "coroutines are no longer where they were")
        thread.switch()

    try:
        yield still_there
    finally:
        if _resumed == resumed and thread.is_valid():
            thread.switch()
            show(before)
            # Not by the command `frame`, which would print it.
            frame = gdb.newest_frame()
            while frame.level() < level and frame.older():
                frame = frame.older()
            frame.select()


def leave(_event: Any = None) -> None:
    """When the process goes on, what was viewed is no longer true."""
    global _view, _resumed
    _resumed += 1
    if _view:
        _view = None
        gdb.invalidate_cached_frames()
