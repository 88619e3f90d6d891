"""The command qhang and the functions $qhang_coroutine, $qhang_sleeper.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence

import gdb

from . import graph, program, view

Row = tuple[Optional[str], Sequence[str]]
WIDTH = 80


def _pointer(address: Optional[str], type_name: str) -> gdb.Value:
    """The object at an address of the report, typed where the type is
    known."""
    value = gdb.Value(int(address or "0", 16)).cast(
        gdb.lookup_type("unsigned long"))
    try:
        return value.cast(gdb.lookup_type(type_name).pointer())
    except gdb.error:
        return value


def _table(heads: Sequence[str], rows: Sequence[Row], type_name: str) -> None:
    """Prints rows in 80 columns; $q1, $q2 ... are their objects.

    A row's first item is the address of its object; the last column takes
    what is left of the line."""
    cells = [list(heads)] + [list(row) for _, row in rows]
    widths = [max(len(line[i]) for line in cells)
              for i in range(len(heads) - 1)]
    for number, line in enumerate(cells):
        text = " ".join(cell.ljust(width)
                        for cell, width in zip(line, widths))
        mark = f"$q{number}" if number else ""
        print(f"{mark:5}{text} {line[-1]}"[:WIDTH].rstrip())
    for number, (address, _) in enumerate(rows, 1):
        gdb.set_convenience_variable(f"q{number}",
                                     _pointer(address, type_name))


def _chain(frames: Sequence[dict[str, Any]], start: Optional[str]) -> str:
    """Functions from `start` (the first that says something) outwards."""
    names = [frame["function"] or "?" for frame in frames]
    at = names.index(start) if start in names else 0
    return " <- ".join(names[at:]) or "-"


class Prefix(gdb.Command):
    """Finds out why a QEMU hangs, and shows its coroutines.

qhang diagnose            what hangs, why, and whether it heals
qhang graph               who waits for whom: circles, chain to the culprit
qhang threads             threads, and where they wait
qhang contexts            AioContexts
qhang coroutines          all coroutines
qhang sleepers            those in qemu_co_sleep
qhang timers              armed timers
qhang coroutine N|ADDR    go into a coroutine: bt, up, info locals
qhang thread              and back to the thread

Each row of a table comes with a variable: $q1, $q2 ...
Example: qhang coroutines, then qhang coroutine 1, then bt"""

    def __init__(self) -> None:
        super().__init__("qhang", gdb.COMMAND_STACK, gdb.COMPLETE_NONE, True)


class Diagnose(gdb.Command):
    """qhang diagnose
Says what this QEMU hangs on, why, and whether it heals by itself.

The process is read as gdb holds it; nothing is attached or resumed."""

    def __init__(self) -> None:
        super().__init__("qhang diagnose", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Prints the report."""
        print(program.ask().rstrip())


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
    return [(s["coroutine"], (s["coroutine"], "yes" if s["armed"] else "no",
                              _seconds(s["timer_left_ns"]),
                              s["user"] or ""))
            for s in told["sleepers"]]


def _timer_rows(told: dict[str, Any]) -> list[Row]:
    return [(t["address"], (t["address"], t["clock"],
                            _seconds(t["left_ns"]), t["callback"] or ""))
            for t in told["timers"]]


# Name: what of, heads, rows, type of the object.
TABLES: dict[str, tuple[str, Sequence[str],
                        Callable[[dict[str, Any]], list[Row]], str]] = {
    "threads": ("threads, and where they wait; $qN is the tid",
                ("tid", "role", "name", "at"), _thread_rows, "int"),
    "contexts": ("AioContexts: their thread, pending bottom halves and "
                 "scheduled coroutines",
                 ("address", "tid", "bhs", "cos", "name"), _context_rows,
                 "struct AioContext"),
    "coroutines": ("all coroutines", ("address", "state", "at"),
                   _coroutine_rows, "struct Coroutine"),
    "sleepers": ("coroutines in qemu_co_sleep: armed or not, and how long "
                 "their timer still runs",
                 ("coroutine", "armed", "timer", "user"), _sleeper_rows,
                 "struct Coroutine"),
    "timers": ("armed timers", ("address", "clock", "left", "callback"),
               _timer_rows, "struct QEMUTimer"),
}


class Table(gdb.Command):
    """One of the tables."""

    def __init__(self, name: str) -> None:
        self.name = name
        what = TABLES[name][0]
        self.__doc__ = (f"qhang {name}\nShows {what}.\n\nEach row comes with "
                        "a variable: $q1, $q2 ...")
        super().__init__(f"qhang {name}", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Prints the table."""
        _, heads, rows, type_name = TABLES[self.name]
        if type_name == "int":
            type_name = "char"
        _table(heads, rows(program.report()), type_name)


def _coroutine(text: str) -> dict[str, Any]:
    """The coroutine that a number of `qhang coroutines` or an address
    means."""
    coroutines: list[dict[str, Any]] = program.report()["coroutines"]
    value = int(gdb.parse_and_eval(text))
    if 1 <= value <= len(coroutines):
        return coroutines[value - 1]
    for coroutine in coroutines:
        if int(coroutine["address"], 16) == value:
            return coroutine
    raise gdb.GdbError(f"no coroutine {text}: `qhang coroutines` shows "
                       f"{len(coroutines)}")


def _enterable(coroutine: dict[str, Any]) -> dict[str, Any]:
    if not coroutine["registers"]:
        raise gdb.GdbError(
            f"coroutine {coroutine['address']} is {coroutine['state']}: it "
            "has no registers of its own to go to" +
            (f"; see thread {coroutine['tid']}" if coroutine["tid"] else ""))
    return coroutine


class Coroutine(gdb.Command):
    """qhang coroutine N|ADDR
Goes into a suspended coroutine, by its number in `qhang coroutines` or by its
address: bt, up, down, frame, info locals and info args then show its stack.

Nothing is written; `qhang thread`, or going on, leads back.
Example: qhang coroutine $q1"""

    def __init__(self) -> None:
        super().__init__("qhang coroutine", gdb.COMMAND_STACK,
                         gdb.COMPLETE_EXPRESSION, True)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Makes the coroutine the view, and shows its innermost frame."""
        if not argument.strip():
            raise gdb.GdbError("which one? qhang coroutine N|ADDR, as in "
                               "`qhang coroutines`")
        wanted = _enterable(_coroutine(argument))
        view.show(view.View(wanted))
        gdb.execute("frame")


class CoroutineApply(gdb.Command):
    """qhang coroutine apply all COMMAND
Runs COMMAND in each suspended coroutine.

What was selected before is selected afterwards, also when COMMAND fails.
Example: qhang coroutine apply all bt 3"""

    def __init__(self) -> None:
        super().__init__("qhang coroutine apply", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Views one after the other."""
        words = argument.split(None, 1)
        if len(words) != 2 or words[0] != "all":
            raise gdb.GdbError("qhang coroutine apply all COMMAND")
        before = view.viewed()
        level = gdb.selected_frame().level()
        try:
            for number, coroutine in enumerate(
                    program.report()["coroutines"], 1):
                if not coroutine["registers"]:
                    continue
                print(f"\nCoroutine {number} ({coroutine['address']}):")
                view.show(view.View(coroutine))
                gdb.execute(words[1])
        finally:
            view.show(before)
            gdb.execute(f"frame level {level}", to_string=True)


class Thread(gdb.Command):
    """qhang thread
Goes back from a coroutine to the thread that is selected."""

    def __init__(self) -> None:
        super().__init__("qhang thread", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Ends the view."""
        view.show(None)
        gdb.execute("frame")


class CoroutineFunction(gdb.Function):
    """$qhang_coroutine(N): coroutine N of `qhang coroutines`."""

    def __init__(self) -> None:
        super().__init__("qhang_coroutine")

    def invoke(self, number: gdb.Value) -> gdb.Value:
        """A pointer to it."""
        return _pointer(_coroutine(str(int(number)))["address"],
                        "struct Coroutine")


class SleeperFunction(gdb.Function):
    """$qhang_sleeper(N): the coroutine of sleeper N of `qhang sleepers`."""

    def __init__(self) -> None:
        super().__init__("qhang_sleeper")

    def invoke(self, number: gdb.Value) -> gdb.Value:
        """A pointer to it."""
        sleepers = program.report()["sleepers"]
        if not 1 <= int(number) <= len(sleepers):
            raise gdb.GdbError(f"no sleeper {int(number)}: `qhang sleepers` "
                               f"shows {len(sleepers)}")
        return _pointer(sleepers[int(number) - 1]["coroutine"],
                        "struct Coroutine")


def load() -> None:
    """Registers all of them."""
    program.load()
    for command in (Prefix, Diagnose, graph.Graph, Coroutine, CoroutineApply, Thread,
                    CoroutineFunction, SleeperFunction):
        command()
    for name in TABLES:
        Table(name)
