"""Names in a backtrace: whose stack it is.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any, Iterable, Iterator

import gdb
from gdb.FrameDecorator import FrameDecorator

from . import view

SWITCH = "qemu_coroutine_switch"
START = "coroutine_trampoline"


class CoroutineFrame(FrameDecorator):
    """A frame with the coroutine's entry behind its function."""

    def __init__(self, frame: Any, entry: str) -> None:
        super().__init__(frame)
        self.entry = entry

    def function(self) -> str:
        """What bt shows as the function."""
        return f"{super().function()} [coroutine {self.entry}]"


def _decorate(frames: Iterable[Any], viewed: view.View) -> Iterator[Any]:
    entry = viewed.coroutine["entry"] or viewed.coroutine["address"]
    for frame in frames:
        inner = frame.inferior_frame()
        if inner.level() == 0:
            # The thread's own: only the way into the coroutine.
            continue
        name = inner.name()
        yield CoroutineFrame(frame, entry) if name == SWITCH else frame
        if name == START:
            # What is behind it, makecontext() has put there.
            return


class CoroutineFilter:
    """Of a viewed coroutine, bt shows its own frames only."""

    name = "qhang-coroutine"
    priority = 100
    enabled = True

    def filter(self, frames: Iterable[Any]) -> Iterable[Any]:
        """gdb asks for each bt."""
        viewed = view.viewed()
        thread = gdb.selected_thread()
        if not viewed or thread.global_num != viewed.thread:
            return frames
        return _decorate(frames, viewed)


def load() -> None:
    """For every program that is looked at from now on."""
    gdb.frame_filters[CoroutineFilter.name] = CoroutineFilter()
