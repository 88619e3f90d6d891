#!/usr/bin/python3
"""Brings qhang's two repairs into a QEMU source tree, and takes them out.

SPDX-License-Identifier: LGPL-2.1-or-later

parts.py tells what is to be done, journal.py does it so that nothing is ever
half done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from journal import Journal
from parts import (FAULTY, OURS, PARTS, PATHS, UNKNOWN, RepairError, State,
                   check_tree)

# As installed, it is qhang-repair.
PROGRAM = Path(sys.argv[0]).name

EXIT_FAULTY = 1
EXIT_REFUSED = 2
EXIT_FAILED = 3
EXIT_USAGE = 64

EPILOG = """exit status:
  0   check: no part is faulty; apply: none is any more; revert: all are back
  1   check: a part is faulty
  2   refused, nothing was changed: not a tree, not understood, repaired by
      others, edited since
  3   failed, nothing was changed: the message says at what
  64  wrong usage

example: qhang-repair check ~/src/qemu && qhang-repair apply ~/src/qemu"""


def _states(tree: Path, parts: list[str]) -> dict[str, State]:
    """Each part; what qhang has changed is told as such."""
    journal = Journal(tree)
    found = {}
    for part in parts:
        state = PARTS[part](tree)
        if (state.state not in (FAULTY, UNKNOWN) and state.path in
                journal.files and journal.state(state.path) == "is"):
            state = State(state.path, OURS, state.why)
        found[part] = state
    return found


def check(tree: Path, parts: list[str]) -> int:
    """Says of each part what it is."""
    found = _states(tree, parts)
    for part, state in found.items():
        print(f"{part}: {state.state}: {state.why}")
    told = {state.state for state in found.values()}
    if UNKNOWN in told:
        return EXIT_REFUSED
    return EXIT_FAULTY if FAULTY in told else 0


def apply(tree: Path, parts: list[str]) -> int:
    """Repairs what is faulty, all of it or nothing."""
    found = _states(tree, parts)
    for state in found.values():
        if state.state == UNKNOWN:
            raise RepairError(f"{tree / state.path}: {state.why}")
    new = {state.path: state.new for state in found.values() if state.new}
    if not new and OURS not in {state.state for state in found.values()}:
        raise RepairError(f"{tree}: nothing to repair here: " + "; ".join(
            f"{part}: {state.state}, {state.why}"
            for part, state in found.items()))
    if new:
        Journal(tree).change(new)
    for part, state in found.items():
        print(f"{part}: applied" if state.new
              else f"{part}: {state.state}: {state.why}")
    return 0


def revert(tree: Path, parts: list[str]) -> int:
    """Takes back what apply has done."""
    back = Journal(tree).take_back(PATHS[part] for part in parts)
    for part in parts:
        print(f"{part}: reverted" if PATHS[part] in back
              else f"{part}: nothing to take back")
    return 0


COMMANDS = {"apply": apply, "check": check, "revert": revert}


class _Parser(argparse.ArgumentParser):
    """With this project's exit status for wrong usage."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _arguments() -> argparse.Namespace:
    parser = _Parser(
        description="Repairs the block graph lock and the coroutine sleep of "
                    "a QEMU source tree, 7.2 to 11.x.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True,
                                     metavar="COMMAND")
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__)
        command.add_argument("tree", type=Path, metavar="TREE")
        command.add_argument("--part", choices=sorted(PARTS), action="append",
                             help="only this one; may be given again")
    return parser.parse_args()


def main() -> int:
    """Command line; see EPILOG."""
    args = _arguments()
    try:
        check_tree(args.tree)
        return COMMANDS[args.command](args.tree, args.part or sorted(PARTS))
    except RepairError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"{PROGRAM}: {error}; nothing was changed", file=sys.stderr)
        return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
