#!/usr/bin/python3
"""Brings qhang's two repairs into a QEMU source tree.

SPDX-License-Identifier: LGPL-2.1-or-later

`graph` is a semantic patch (Coccinelle): the last reader of the block graph
always kicks the waiting writer.  `sleep` replaces the file that holds the
coroutine sleep by one written here.  Each part is worked out beside the tree
and moved into place whole, so a failure leaves the tree as it was; a part
that is there already is left alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

HERE = Path(__file__).resolve().parent
GRAPH = Path("block/graph-lock.c")
SLEEP = Path("util/qemu-coroutine-sleep.c")


class ApplyError(Exception):
    """The tree can't be repaired; it is as it was."""


def spatch(tree: Path, rules: Path, source: Path, *options: str) -> str:
    """Runs a semantic patch over `source`; returns the diff it prints."""
    macros = tree / "scripts/cocci-macro-file.h"
    argv = ["spatch", "--very-quiet", "--sp-file", str(rules), str(source)]
    if macros.is_file():
        argv += ["--macro-file", str(macros)]
    try:
        done = subprocess.run([*argv, *options], check=False, text=True,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as missing:
        raise ApplyError("spatch is not installed: "
                         "apt-get install coccinelle") from missing
    if done.returncode != 0:
        raise ApplyError(f"spatch {rules.name} {source}: status "
                         f"{done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def install(content: bytes, target: Path) -> None:
    """Makes `target` hold `content` in one step, keeping its mode."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".qhang-")
    os.close(handle)
    try:
        Path(name).write_bytes(content)
        shutil.copymode(target, name)
        os.replace(name, target)
    except OSError:
        os.unlink(name)
        raise


@dataclass(frozen=True)
class Plan:
    """What becomes of one file; `content` is None when it stays."""

    target: Path
    outcome: str
    content: Optional[bytes] = None


def plan_graph(tree: Path) -> Plan:
    """The kick in bdrv_graph_co_rdunlock()."""
    target = tree / GRAPH
    if not target.is_file():
        return Plan(target, "absent: this tree has no graph lock")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / GRAPH.name
        shutil.copyfile(target, copy)
        spatch(tree, HERE / "graph-kick.cocci", copy, "--in-place")
        if copy.read_bytes() != target.read_bytes():
            return Plan(target, "applied", copy.read_bytes())
    if spatch(tree, HERE / "graph-is-kicked.cocci", target):
        return Plan(target, "unchanged: kicks always already")
    raise ApplyError(f"{target}: bdrv_graph_co_rdunlock() is neither the "
                     "faulty nor a repaired one; look at it by hand")


def plan_sleep(tree: Path) -> Plan:
    """The sleep/wake primitive."""
    target = tree / SLEEP
    ours = (HERE / SLEEP).read_bytes()
    if not target.is_file():
        raise ApplyError(f"{target} is not there: is {tree} a QEMU source "
                         "tree?")
    if target.read_bytes() == ours:
        return Plan(target, "unchanged: is this file already")
    if not spatch(tree, HERE / "sleep-is-faulty.cocci", target):
        raise ApplyError(f"{target}: qemu_co_sleep_wake() is not the faulty "
                         "one; it is repaired already, or look at it by hand")
    return Plan(target, "applied", ours)


PARTS: dict[str, Callable[[Path], Plan]] = {
    "graph": plan_graph,
    "sleep": plan_sleep,
}


def apply_parts(tree: Path, parts: list[str]) -> None:
    """Applies `parts` to `tree`, all of them or none; says what was done."""
    plans = {part: PARTS[part](tree) for part in parts}
    before = {plan.target: plan.target.read_bytes()
              for plan in plans.values() if plan.content is not None}
    try:
        for plan in plans.values():
            if plan.content is not None:
                install(plan.content, plan.target)
    except OSError:
        for target, content in before.items():
            if target.read_bytes() != content:
                install(content, target)
        raise
    for part, plan in plans.items():
        print(f"{part}: {plan.outcome}")


def main() -> int:
    """Command line; 0 when every part is in the tree (or absent), 1 not."""
    parser = argparse.ArgumentParser(
        description="Repairs the block graph lock and the coroutine sleep of "
                    "a QEMU source tree, 7.2 to 11.x.",
        epilog="example: apply.py apply ~/src/qemu --part graph")
    commands = parser.add_subparsers(dest="command", required=True)
    apply = commands.add_parser("apply", help="bring the repairs in")
    apply.add_argument("tree", type=Path, metavar="TREE")
    apply.add_argument("--part", choices=sorted(PARTS), action="append",
                       help="only this one; may be given again")
    args = parser.parse_args()
    try:
        apply_parts(args.tree, args.part or sorted(PARTS))
    except (ApplyError, OSError) as error:
        print(f"apply.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
