#!/usr/bin/python3
"""Runs one program of a test run and writes down how it went, for tally.py.

SPDX-License-Identifier: GPL-2.0-or-later

Each call makes a folder of its own below $QHANG_RESULTS:

    record.json   kind, name, the program, the same behind valgrind, where it
                  ran, the variables that matter
    output        what the program wrote, stdout and stderr as they came
    *.xml         JUnit files, when the program is a cmocka or pytest one
    status        its exit status, written last: without it the program was
                  killed (a time limit) before it ended
    inner/        the records of the programs that a suite or step ran
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Sequence

POLL_S = 0.1
SHOWN_VARIABLES = ("QHANG", "ASAN_OPTIONS", "UBSAN_OPTIONS")


def make_folder() -> Path:
    """A new folder below $QHANG_RESULTS; names sort by time."""
    results = Path(os.environ["QHANG_RESULTS"])
    folder = results / f"{time.time_ns()}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


def under(argv: Sequence[str]) -> list[str]:
    """`argv`, behind $QHANG_UNDER (valgrind) when it is one of our own
    programs; pytest is left alone, and puts it before the qhang that
    its tests run."""
    build = os.environ.get("QHANG_BUILD", "")
    prefix = shlex.split(os.environ.get("QHANG_UNDER", ""))
    ours = build and Path(argv[0]).is_relative_to(Path(build).absolute())
    return [*prefix, *argv] if ours else list(argv)


def environment(folder: Path, kind: str) -> dict[str, str]:
    """Has cmocka and pytest write JUnit files into `folder`; what a suite or
    step runs is recorded below it."""
    env = dict(os.environ)
    env["QHANG_RESULTS"] = str(folder / "inner")
    if kind != "test":
        return env
    env["CMOCKA_MESSAGE_OUTPUT"] = "xml"
    env["CMOCKA_XML_FILE"] = str(folder / "cmocka-%g.xml")
    report = shlex.quote(f"--junitxml={folder}/pytest.xml")
    env["PYTEST_ADDOPTS"] = f"{env.get('PYTEST_ADDOPTS', '')} {report}"
    return env


def shown_variables(hidden: Sequence[str]) -> dict[str, str]:
    """The variables that a command repeating this run must have."""
    return {name: value for name, value in sorted(os.environ.items())
            if name.startswith(SHOWN_VARIABLES) and name not in hidden}


def run(argv: Sequence[str], folder: Path, env: dict[str, str],
        live: bool) -> int:
    """Runs `argv` with its output in a file, shown as it grows when `live`
    and at the end otherwise.

    A file and no pipe: a process that `argv` left behind cannot keep this
    one waiting.
    """
    with (folder / "output").open("wb") as out:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, env=env)
    with (folder / "output").open("rb") as seen:
        while child.poll() is None:
            try:
                if live:
                    show(seen.read())
                time.sleep(POLL_S)
            except KeyboardInterrupt:
                child.send_signal(signal.SIGINT)
        show(seen.read())
    return child.returncode


def show(text: bytes) -> None:
    """Passes a program's output on."""
    sys.stdout.buffer.write(text)
    sys.stdout.flush()


def main() -> int:
    """Exits as the program did; 128 + N when signal N ended it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("test", "step", "suite"),
                        default="test",
                        help="test: counts, one case if it writes no JUnit "
                        "file; step: counts only when it fails; suite: as "
                        "step, and must have run a test")
    parser.add_argument("--name", help="how the tally calls it")
    parser.add_argument("--live", action="store_true",
                        help="show the output as it comes")
    parser.add_argument("--limit", type=int, metavar="SECONDS",
                        help="interrupt it then, and kill it 30 s later")
    parser.add_argument("argv", nargs="+", metavar="COMMAND")
    args = parser.parse_args()
    argv = under(args.argv)
    hidden = ["QHANG_RESULTS"]
    if argv != args.argv:
        hidden.append("QHANG_UNDER")
    folder = make_folder()
    (folder / "record.json").write_text(json.dumps({
        "kind": args.kind, "name": args.name or Path(args.argv[0]).name,
        "program": args.argv, "argv": argv, "cwd": os.getcwd(),
        "env": shown_variables(hidden)}))
    try:
        if args.limit:
            argv = ["timeout", "-s", "INT", "-k", "30", str(args.limit),
                    *argv]
        status = run(argv, folder, environment(folder, args.kind), args.live)
    except OSError as error:
        (folder / "output").write_text(f"{error}\n")
        print(error)
        status = 127
    status = status if status >= 0 else 128 - status
    (folder / "status").write_text(f"{status}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
