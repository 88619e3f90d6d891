"""What the two repairs are, and in which state a tree's files are.

SPDX-License-Identifier: LGPL-2.1-or-later

`graph` is a semantic patch (Coccinelle): the last reader of the block graph
always kicks the waiting writer.  `sleep` replaces the file that holds the
coroutine sleep by the one in util/.  Files are told by what they do, not by
their text: versions differ in comments, annotations and the like.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

HERE = Path(__file__).resolve().parent
GRAPH = "block/graph-lock.c"
SLEEP = "util/qemu-coroutine-sleep.c"
MACROS = "scripts/cocci-macro-file.h"

FAULTY = "faulty"
OURS = "repaired by qhang"
REPAIRED = "repaired"
ABSENT = "absent"
UNKNOWN = "not understood"


class RepairError(Exception):
    """It can't be done, and nothing was changed; says what and what next."""


@dataclass(frozen=True)
class State:
    """One part of a tree; `new` is what its file is to become if faulty."""

    path: str
    state: str
    why: str
    new: Optional[bytes] = None


def _spatch(tree: Path, rules: str, source: Path, *options: str) -> str:
    """Runs a semantic patch over `source`; returns the diff it prints."""
    argv = ["spatch", "--very-quiet", "--sp-file", str(HERE / rules),
            str(source)]
    macros = tree / MACROS
    if macros.is_file():
        argv += ["--macro-file", str(macros)]
    try:
        done = subprocess.run([*argv, *options], check=False, text=True,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as missing:
        raise RepairError("spatch is not installed: "
                          "apt-get install coccinelle") from missing
    if done.returncode != 0:
        raise RepairError(f"spatch {rules} {source}: status "
                          f"{done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def _kicked(tree: Path, target: Path) -> Optional[bytes]:
    """The text with the kick's condition gone; None when it has none."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / target.name
        shutil.copyfile(target, copy)
        _spatch(tree, "graph-kick.cocci", copy, "--in-place")
        new = copy.read_bytes()
    return new if new != target.read_bytes() else None


def graph_state(tree: Path) -> State:
    """The kick in bdrv_graph_co_rdunlock()."""
    target = tree / GRAPH
    if not target.is_file():
        return State(GRAPH, ABSENT, "this tree has no graph lock")
    new = _kicked(tree, target)
    if new is not None:
        return State(GRAPH, FAULTY, "the last reader kicks only if has_writer "
                     "is set", new)
    if _spatch(tree, "graph-is-kicked.cocci", target):
        return State(GRAPH, REPAIRED, "the last reader always kicks")
    return State(GRAPH, UNKNOWN, "bdrv_graph_co_rdunlock() is neither the "
                 "faulty nor a repaired one; look at it by hand")


def _defined(text: str) -> set[str]:
    """The names of the functions that a file of this kind exports."""
    heads = re.findall(r"^(?!static\b)[a-z][\w \t*]*?\b(\w+)\([^;{}]*\)\s*\{",
                       text, re.MULTILINE)
    return set(heads)


def sleep_state(tree: Path) -> State:
    """The sleep/wake primitive."""
    target = tree / SLEEP
    ours = (HERE / SLEEP).read_bytes()
    if target.read_bytes() == ours:
        return State(SLEEP, OURS, "is qhang's file")
    if _spatch(tree, "sleep-is-faulty.cocci", target):
        lacking = (_defined(target.read_text(errors="replace"))
                   - _defined(ours.decode()))
        if lacking:
            return State(SLEEP, UNKNOWN, f"also defines "
                         f"{', '.join(sorted(lacking))}, which the "
                         "replacement lacks; repair it by hand")
        return State(SLEEP, FAULTY, "the wake reads to_wake and clears it in "
                     "two steps", ours)
    if (_spatch(tree, "sleep-takes-at-once.cocci", target)
            and _spatch(tree, "sleep-arms-at-once.cocci", target)):
        return State(SLEEP, REPAIRED, "wake and sleep are atomic steps")
    return State(SLEEP, UNKNOWN, "qemu_co_sleep_wake() is neither the faulty "
                 "nor a repaired one; look at it by hand")


PARTS: dict[str, Callable[[Path], State]] = {
    "graph": graph_state,
    "sleep": sleep_state,
}
PATHS = {"graph": GRAPH, "sleep": SLEEP}


def check_tree(tree: Path) -> None:
    """Raises RepairError when `tree` can't be a QEMU source tree."""
    if not (tree / SLEEP).is_file():
        raise RepairError(f"{tree / SLEEP} is not there: is {tree} a QEMU "
                          "source tree, 7.2 or later?")
    for name in PATHS.values():
        if (tree / name).is_symlink():
            raise RepairError(f"{tree / name} is a symbolic link: give the "
                              "tree that it leads to")
