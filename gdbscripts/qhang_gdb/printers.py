"""How gdb prints QEMU's structs: one line each.

SPDX-License-Identifier: GPL-2.0-or-later

Corrupt memory must not end a print: what can't be read is shown as that.
"""

from __future__ import annotations

from typing import Callable, Optional

import gdb

from . import program


def _string(value: gdb.Value) -> str:
    return value.string() if int(value) else "none"


def _function(value: gdb.Value) -> str:
    """The name of the function that a pointer holds."""
    block = gdb.block_for_pc(int(value))
    name = None
    # The outermost: what is inlined may begin where the function does.
    while block and not block.is_static and not block.is_global:
        name = block.function.name if block.function else name
        block = block.superblock
    return name or hex(int(value))


def _coroutine(v: gdb.Value) -> str:
    scheduled = _string(v["scheduled"])
    return (f"Coroutine {_function(v['entry'])}, scheduled: {scheduled}, "
            f"ctx {hex(int(v['ctx']))}")


def _co_sleep(v: gdb.Value) -> str:
    to_wake = int(v["to_wake"])
    return "QemuCoSleep " + {0: "of nobody", 1: "with a wake pending"}.get(
        to_wake, f"of coroutine {hex(to_wake)}")


def _co_mutex(v: gdb.Value) -> str:
    holder = int(v["holder"])
    return (f"CoMutex, locked {int(v['locked'])}, "
            + (f"held by {hex(holder)}" if holder else "not held"))


def _co_queue(v: gdb.Value) -> str:
    first = int(v["entries"]["sqh_first"])
    return "CoQueue, " + (f"first {hex(first)}" if first else "empty")


def _aio_context(v: gdb.Value) -> str:
    return (f"AioContext {_string(v['source']['name'])}, notify_me "
            f"{int(v['notify_me'])}, notified {int(v['notified'])}")


def _timer(v: gdb.Value) -> str:
    expire = int(v["expire_time"])
    return (f"QEMUTimer {_function(v['cb'])}, "
            + ("not armed" if expire == -1 else f"expires at {expire}"))


def _node(v: gdb.Value) -> str:
    driver = v["drv"]
    name = driver["format_name"].string() if int(driver) else "no driver"
    return (f"BlockDriverState {v['node_name'].string()} ({name}), in_flight "
            f"{int(v['in_flight'])}, quiesced {int(v['quiesce_counter'])}")


PRINTERS: dict[str, Callable[[gdb.Value], str]] = {
    "Coroutine": _coroutine, "QemuCoSleep": _co_sleep, "CoMutex": _co_mutex,
    "CoQueue": _co_queue, "AioContext": _aio_context, "QEMUTimer": _timer,
    "BlockDriverState": _node,
}


class Printer:
    """One value."""

    def __init__(self, name: str, value: gdb.Value) -> None:
        self.name = name
        self.value = value

    def to_string(self) -> str:
        """One line, whatever stands in memory."""
        try:
            return program.printable(PRINTERS[self.name](self.value))
        except (gdb.error, UnicodeDecodeError, OverflowError) as error:
            return f"{self.name} <{error}>"


def lookup(value: gdb.Value) -> Optional[Printer]:
    """gdb asks for each value that it prints."""
    kind = value.type.strip_typedefs()
    name = kind.tag or ""
    return Printer(name, value) if name in PRINTERS else None


def load() -> None:
    """For every program that is looked at from now on."""
    if lookup not in gdb.pretty_printers:
        gdb.pretty_printers.append(lookup)
