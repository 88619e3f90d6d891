"""qhang inside gdb: what hangs, and a way into each coroutine.

SPDX-License-Identifier: GPL-2.0-or-later

One truth: the rules and readers exist once, in the program qhang.  gdb hands
it the registers of a process that it holds, or names it the core, and shows
what it says (program.py).  gdb adds what only gdb can do: a coroutine's frames
as if they were a thread's (view.py), and its own way to print QEMU's structs
(printers.py).  Nothing is looked up before it is asked for.
"""

from __future__ import annotations


def load() -> None:
    """Registers commands, functions, the unwinder and the printers."""
    # Not on top: gdb's Python alone has what they import.
    from . import commands, decorator, printers, view
    view.load()
    decorator.load()
    printers.load()
    commands.load()
