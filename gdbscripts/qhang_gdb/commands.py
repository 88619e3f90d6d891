"""The command qhang and the functions $qhang_coroutine, $qhang_sleeper.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any

import gdb

from . import graph, program, tables, view


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


class Diagnose(program.Command):
    """qhang diagnose
Says what this QEMU hangs on, why, and whether it heals by itself.

The process is read as gdb holds it; nothing is attached or resumed."""

    def __init__(self) -> None:
        super().__init__("qhang diagnose", gdb.COMMAND_STACK)

    def run(self, argument: str) -> None:
        """Prints the report."""
        print(program.ask().rstrip())


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


class Coroutine(program.Command):
    """qhang coroutine N|ADDR
Goes into a suspended coroutine, by its number in `qhang coroutines` or by its
address: bt, up, down, frame, info locals and info args then show its stack.

Nothing is written; `qhang thread`, or going on, leads back.
Example: qhang coroutine $q1"""

    def __init__(self) -> None:
        super().__init__("qhang coroutine", gdb.COMMAND_STACK,
                         gdb.COMPLETE_EXPRESSION, True)

    def run(self, argument: str) -> None:
        """Makes the coroutine the view, and shows its innermost frame."""
        if not argument.strip():
            raise gdb.GdbError("which one? qhang coroutine N|ADDR, as in "
                               "`qhang coroutines`")
        wanted = _enterable(_coroutine(argument))
        view.show(view.View(wanted))
        gdb.execute("frame")


class CoroutineApply(program.Command):
    """qhang coroutine apply all COMMAND
Runs COMMAND in each suspended coroutine.

What was selected before is selected afterwards, also when COMMAND fails.
Example: qhang coroutine apply all bt 3"""

    def __init__(self) -> None:
        super().__init__("qhang coroutine apply", gdb.COMMAND_STACK)

    def run(self, argument: str) -> None:
        """Views one after the other."""
        words = argument.split(None, 1)
        if len(words) != 2 or words[0] != "all":
            raise gdb.GdbError("qhang coroutine apply all COMMAND")
        coroutines = program.report()["coroutines"]
        with view.kept() as still_there:
            for number, coroutine in enumerate(coroutines, 1):
                if not coroutine["registers"]:
                    continue
                still_there()
                print(f"\nCoroutine {number} ({coroutine['address']}):")
                view.show(view.View(coroutine))
                gdb.execute(words[1])


class Thread(program.Command):
    """qhang thread
Goes back from a coroutine to the thread that is selected."""

    def __init__(self) -> None:
        super().__init__("qhang thread", gdb.COMMAND_STACK)

    def run(self, argument: str) -> None:
        """Ends the view."""
        view.show(None)
        gdb.execute("frame")


class CoroutineFunction(gdb.Function):
    """$qhang_coroutine(N): coroutine N of `qhang coroutines`."""

    def __init__(self) -> None:
        super().__init__("qhang_coroutine")

    def invoke(self, number: gdb.Value) -> gdb.Value:
        """A pointer to it."""
        return tables.pointer(_coroutine(str(int(number)))["address"],
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
        return tables.pointer(sleepers[int(number) - 1]["coroutine"],
                        "struct Coroutine")


def load() -> None:
    """Registers all of them."""
    program.load()
    for command in (Prefix, Diagnose, graph.Graph, Coroutine, CoroutineApply,
                    Thread, CoroutineFunction, SleeperFunction):
        command()
    tables.load()
