"""The tables: threads, contexts, coroutines, sleepers and timers.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence

import gdb

from . import program

Row = tuple[Optional[str], Sequence[str]]
WIDTH = 80


def pointer(address: Optional[str], type_name: Optional[str]) -> gdb.Value:
    """The object at an address of the report, typed where the type is
    known; without a type the number itself."""
    value = gdb.Value(int(address or "0", 16)).cast(
        gdb.lookup_type("unsigned long"))
    if not type_name:
        return value
    try:
        return value.cast(gdb.lookup_type(type_name).pointer())
    except gdb.error:
        return value


def _table(heads: Sequence[str], rows: Sequence[Row],
           type_name: Optional[str]) -> None:
    """Prints rows in 80 columns; $q1, $q2 ... are their objects.

    A row's first item is the address of its object; the last column takes
    what is left of the line."""
    cells = [list(heads)] + [[program.printable(cell) for cell in row]
                             for _, row in rows]
    widths = [max(len(line[i]) for line in cells)
              for i in range(len(heads) - 1)]
    for number, line in enumerate(cells):
        text = " ".join(cell.ljust(width)
                        for cell, width in zip(line, widths))
        mark = f"$q{number}" if number else ""
        print(f"{mark:5}{text} {line[-1]}"[:WIDTH].rstrip())
    for number, (address, _) in enumerate(rows, 1):
        gdb.set_convenience_variable(f"q{number}",
                                     pointer(address, type_name))


def _chain(frames: Sequence[dict[str, Any]], start: Optional[str]) -> str:
    """Functions from `start` (the first that says something) outwards."""
    names = [frame["function"] or "?" for frame in frames]
    at = names.index(start) if start in names else 0
    return " <- ".join(names[at:]) or "-"


def _thread_rows(told: dict[str, Any]) -> list[Row]:
    return [(hex(t["tid"]), (str(t["tid"]), t["role"] or "", t["name"],
                             _chain(t["frames"], t["at"])))
            for t in told["threads"]]


def _context_rows(told: dict[str, Any]) -> list[Row]:
    return [(c["address"], (c["address"], str(c["tid"] or "-"),
                            str(len(c["pending"])), str(len(c["scheduled"])),
                            c["name"] or ""))
            for c in told["contexts"]]


def _coroutine_rows(told: dict[str, Any]) -> list[Row]:
    return [(c["address"], (c["address"], c["state"],
                            _chain(c["frames"], c["at"])
                            if c["frames"] else c["entry"] or ""))
            for c in told["coroutines"]]


def _seconds(ns: Optional[int]) -> str:
    return "-" if ns is None else f"{ns / 1e9:.1f} s"


def _sleeper_rows(told: dict[str, Any]) -> list[Row]:
    return [(s["coroutine"], (s["coroutine"], s["armed"],
                              _seconds(s["timer_left_ns"]),
                              s["user"] or "-"))
            for s in told["sleepers"]]


def _timer_rows(told: dict[str, Any]) -> list[Row]:
    return [(t["address"], (t["address"], t["clock"],
                            _seconds(t["left_ns"]), t["callback"] or ""))
            for t in told["timers"]]


# Name: what of, heads, rows, type of the object.
TABLES: dict[str, tuple[str, Sequence[str],
                        Callable[[dict[str, Any]], list[Row]],
                        Optional[str]]] = {
    "threads": ("threads, and where they wait; $qN is the tid",
                ("tid", "role", "name", "at"), _thread_rows, None),
    "contexts": ("AioContexts: their thread, pending bottom halves and "
                 "scheduled coroutines",
                 ("address", "tid", "bhs", "cos", "name"), _context_rows,
                 "struct AioContext"),
    "coroutines": ("all coroutines", ("address", "state", "at"),
                   _coroutine_rows, "struct Coroutine"),
    "sleepers": ("coroutines in qemu_co_sleep: how their wake-up stands, and "
                 "how long their timer still runs",
                 ("coroutine", "state", "timer", "user"), _sleeper_rows,
                 "struct Coroutine"),
    "timers": ("armed timers", ("address", "clock", "left", "callback"),
               _timer_rows, "struct QEMUTimer"),
}


class Table(program.Command):
    """One of the tables."""

    def __init__(self, name: str) -> None:
        self.name = name
        what = TABLES[name][0]
        self.__doc__ = (f"qhang {name}\nShows {what}.\n\nEach row comes with "
                        "a variable: $q1, $q2 ...")
        super().__init__(f"qhang {name}", gdb.COMMAND_STACK)

    def run(self, argument: str) -> None:
        """Prints the table."""
        _, heads, rows, type_name = TABLES[self.name]
        _table(heads, rows(program.report()), type_name)


def load() -> None:
    """Registers all of them."""
    for name in TABLES:
        Table(name)
