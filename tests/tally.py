#!/usr/bin/python3
"""Adds up a test run: single tests, not programs; one closing line.

SPDX-License-Identifier: GPL-2.0-or-later

Reads the folders that record.py left.  A program that was killed, crashed or
ended badly without a failed test of its own counts as one failed test, so
that nothing gets lost on the way.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Iterator, Optional

CHECKOUT = Path(__file__).resolve().parent.parent
STATUS_SKIP = 77
STATUS_LIMIT = 124
SHOWN_LINES = 40


@dataclass(frozen=True)
class Case:
    """One test and what became of it."""

    name: str
    outcome: str
    text: str = ""
    repeat: str = ""


@lru_cache
def meson_tests(build: str) -> list[dict]:
    """The tests that meson knows in a build folder."""
    listing = Path(build) / "meson-info/intro-tests.json"
    if not build or not listing.is_file():
        return []
    return json.loads(listing.read_text())


def meson_test(build: str, argv: list[str]) -> Optional[dict]:
    """Which test of meson's a command line is; it may end in arguments that
    were added to the test's own."""
    for test in meson_tests(build):
        if test["cmd"] == argv[:len(test["cmd"])]:
            return test
    return None


class Record:
    """One program that record.py ran."""

    def __init__(self, folder: Path) -> None:
        told = json.loads((folder / "record.json").read_text())
        self.folder = folder
        self.kind: str = told["kind"]
        self.name: str = told["name"]
        self.argv: list[str] = told["argv"]
        self.cwd = Path(told["cwd"])
        self.env: dict[str, str] = told["env"]
        test = meson_test(self.env.get("QHANG_BUILD", ""), told["program"])
        if test and self.kind == "test":
            self.name = test["name"]
            self.env = {**test["env"], **self.env}
        status = folder / "status"
        self.status: Optional[int] = (
            int(status.read_text()) if status.is_file() else None)

    def cases(self) -> Iterator[Case]:
        """The tests that it ran, and one more if it ended worse than them."""
        found = [*self._reported(), *read_all(self.folder / "inner")]
        yield from found
        if self.status != 0:
            yield from self._unexplained(found)
        elif not found and self.kind == "test":
            yield Case(self.name, "passed")
        elif not found and self.kind == "suite":
            yield self._failed("ran no test")

    def _unexplained(self, found: list[Case]) -> Iterator[Case]:
        if self.status is None:
            yield self._failed("was killed before its end: a time limit?\n"
                               + self._tail())
        elif self.status == STATUS_SKIP and not found:
            last = self._tail().strip().splitlines()[-1:]
            yield Case(self.name, "skipped", "".join(last))
        elif self.status == STATUS_LIMIT:
            yield self._failed("hit its time limit\n" + self._tail())
        elif not any(case.outcome == "failed" for case in found):
            yield self._failed(f"exit status {self.status}\n" + self._tail())

    def _failed(self, text: str) -> Case:
        return Case(self.name, "failed", text, self._command(self.argv))

    def _tail(self) -> str:
        try:
            text = (self.folder / "output").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-SHOWN_LINES:])

    def _reported(self) -> Iterator[Case]:
        """The cases of the JUnit files that it wrote."""
        for path in sorted(self.folder.glob("*.xml")):
            try:
                suites = ElementTree.parse(path)
            except ElementTree.ParseError as error:
                yield self._failed(f"{path}: {error}\n" + self._tail())
                continue
            for case in suites.iter("testcase"):
                yield self._case(case)

    def _case(self, case: ElementTree.Element) -> Case:
        own = case.get("name", "?")
        file = case.get("file")
        where = file or self.name
        bad = [e for e in case if e.tag in ("failure", "error")]
        skipped = case.find("skipped")
        if bad:
            text = "\n".join(e.text or e.get("message") or "" for e in bad)
            return Case(f"{where} {own}", "failed", text,
                        self._repeat(case, file, own))
        if skipped is not None:
            why = skipped.get("message") or self._tail() or "no reason given"
            return Case(f"{where} {own}", "skipped", why)
        return Case(f"{where} {own}", "passed")

    def _repeat(self, case: ElementTree.Element, file: Optional[str],
                own: str) -> str:
        """The command that runs this one test again, from the checkout.

        `file` is pytest's, relative to tests/, where pytest.ini stands.
        """
        if not file or "pytest" not in self.argv:
            return self._command(self.argv)
        module = file.removesuffix(".py").replace("/", ".")
        group = case.get("classname", "").removeprefix(module).strip(".")
        node = "::".join(part for part in (f"tests/{file}", group, own)
                         if part)
        upto = self.argv.index("pytest") + 1
        return self._command([*self.argv[:upto], node], CHECKOUT)

    def _command(self, argv: list[str], where: Optional[Path] = None) -> str:
        """`argv` as a line for the shell, from the checkout.

        `where` it runs is the folder that it was recorded in unless told.
        """
        where = where or self.cwd
        words = [f"{name}={shlex.quote(value)}"
                 for name, value in self.env.items()]
        words += [shlex.quote(word.replace(f"{where}/", "", 1))
                  for word in argv]
        if where == CHECKOUT:
            return " ".join(words)
        if where.is_relative_to(CHECKOUT):
            where = where.relative_to(CHECKOUT)
        return f"(cd {shlex.quote(str(where))} && {' '.join(words)})"


def read_all(results: Path) -> list[Case]:
    """The cases of every record below `results`, in the order they ran."""
    cases = []
    for path in sorted(results.glob("*/record.json")):
        cases += Record(path.parent).cases()
    return cases


def one_line(text: str) -> str:
    """A reason, fit for one line."""
    return re.sub(r"\s+", " ", text).strip()


def tell_failures(cases: list[Case]) -> None:
    """Every failure, its end, and the command that repeats it."""
    for case in cases:
        if case.outcome != "failed":
            continue
        print(f"\nFAILED {case.name}")
        for line in case.text.strip().splitlines()[-SHOWN_LINES:]:
            print(f"    {line}")
        print(f"  repeat: {case.repeat}")


def tell_skips(cases: list[Case]) -> None:
    """Every reason for a skip, with the tests that gave it."""
    reasons = defaultdict(list)
    for case in cases:
        if case.outcome == "skipped":
            reasons[one_line(case.text)].append(case.name)
    for reason, names in reasons.items():
        print(f"\nSKIPPED {', '.join(names)}\n  because: {reason}")


def main() -> int:
    """Prints the tally of the folder named; 1 if a test failed or none ran."""
    if len(sys.argv) != 2:
        print("usage: tally.py RESULTS", file=sys.stderr)
        return 64
    cases = read_all(Path(sys.argv[1]))
    tell_skips(cases)
    tell_failures(cases)
    count = Counter(case.outcome for case in cases)
    if not cases:
        print("no test ran")
    print(f"{count['passed']} passed, {count['failed']} failed, "
          f"{count['skipped']} skipped")
    return 0 if count["passed"] and not count["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
