"""The command qhang graph: who waits for whom.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any, Iterator, Sequence

import gdb

from . import program


def _plain(text: str) -> str:
    """Without what a terminal must not see: names come from the target."""
    return "".join(char if char.isprintable() else
                   "".join(f"\\x{byte:02x}" for byte in
                           char.encode("utf-8", "surrogatepass"))
                   for char in text)


def _links(graph: dict[str, Any], ids: Sequence[int]) -> Iterator[str]:
    """One line a node: why the one before waits for it, and its name."""
    why = {(edge["from"], edge["to"]): edge["why"] for edge in graph["edges"]}
    before = None
    for node in ids:
        name = _plain(graph["nodes"][node]["name"])
        yield name if before is None else f"  {why[before, node]} {name}"
        before = node


def lines(graph: dict[str, Any]) -> Iterator[str]:
    """Each circle, then the chain from the main thread to the culprit."""
    for number, cycle in enumerate(graph["cycles"], 1):
        yield f"circle {number}, {cycle['certainty']}:"
        around = cycle["nodes"]
        yield from ("  " + line for line in _links(graph, around + around[:1]))
    if graph["chain"]:
        yield "chain:"
        yield from ("  " + line for line in _links(graph, graph["chain"]))
    if not graph["cycles"] and not graph["chain"]:
        yield "the main thread waits for nobody, and there is no circle"


class Graph(gdb.Command):
    """qhang graph
Shows who waits for whom: circles of threads and coroutines that wait for each
other, and the chain from the main thread down to whom it waits for.

Example: qhang graph, then thread apply all bt on those that it names"""

    def __init__(self) -> None:
        super().__init__("qhang graph", gdb.COMMAND_STACK)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Prints circles and chain."""
        for line in lines(program.report()["graph"]):
            print(line)
