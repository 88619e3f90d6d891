#!/usr/bin/python3
"""Repairs QEMU source trees of several versions; runs QEMU's own tests on them.

SPDX-License-Identifier: GPL-2.0-or-later

For each tree that the archive delivers: cfix/qemu/repair.py says what it is;
QEMU's unit tests of loops, coroutines and drains are built and run as it was
shipped; it is repaired; they are built and run again; it is reverted, and
every file of the tree must be what it was.  Run by hand or by tests/run.sh
--lab=full; keeps tests/bench/results/trees.{json,md}.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import build as lab_build
from labapt import LabError, PrivateApt, SourceMissing

sys.path[:0] = [str(lab_build.CHECKOUT / "tests/bench")]

# pylint: disable=wrong-import-position
from figures import columns, keep

REPAIR = lab_build.CFIX / "repair.py"
TESTS = ("test-aio", "test-coroutine", "test-bdrv-drain",
         "test-aio-multithread")
OPTIONS = ("--without-default-features", "--enable-tools", "--disable-system",
           "--enable-debug-info", "--enable-linux-aio", "--disable-docs",
           "--disable-werror", "--disable-install-blobs")
# An original tarball misses what Debian's patches do without.
TOOLS = ("meson", "python3-pycotap")
OWN_MESON = ("--python=/usr/bin/python3", "--disable-download")


@dataclass(frozen=True)
class Tree:
    """Where a version comes from, and what repair.py must say of it."""

    version: str
    suite: str
    states: tuple[str, str]
    options: tuple[str, ...] = OWN_MESON
    original: bool = False


TREES = {tree.version: tree for tree in (
    # It wants no newer meson than the machine's.
    Tree("7.2", "bookworm", ("absent", "faulty"), ("--meson=meson",)),
    # Its .dsc is gone from the archive, its tarball is not.
    Tree("10.0.2", "bookworm-backports", ("faulty", "faulty"),
         original=True),
    Tree("10.0.13", "trixie", ("repaired", "repaired")),
    Tree("10.2.2", "sid", ("faulty", "faulty")),
    Tree("11.1", "sid", ("repaired", "repaired")),
)}


@dataclass
class Outcome:
    """What became of one tree; counts are of passed subtests."""

    version: str
    source: str = ""
    check: list[str] = field(default_factory=list)
    before: Optional[int] = None
    applied: str = ""
    after: Optional[int] = None
    reverted: str = ""
    missing: str = ""


def fetch(tree: Tree, folder: Path) -> tuple[Path, str]:
    """The unpacked source and its exact version; once, then it stands."""
    stamp = folder / "source"
    if stamp.is_file():
        name, version = stamp.read_text().split()
        return folder / name, version
    shutil.rmtree(folder, ignore_errors=True)
    apt = PrivateApt(folder / "apt", "deb-src", tree.suite)
    apt.update()
    reasons = []
    for version in apt.source_versions("qemu"):
        if not version.startswith(f"1:{tree.version}"):
            continue
        try:
            get = apt.original if tree.original else apt.source
            source = get("qemu", version, folder)
        except SourceMissing as missing:
            reasons.append(str(missing))
            continue
        stamp.write_text(f"{source.name} {version}")
        return source, version
    raise SourceMissing("; ".join(reasons) or
                        f"{tree.suite} has no qemu {tree.version}")


def digests(source: Path) -> dict[str, str]:
    """Every file of the tree but Python's caches, which QEMU's build makes."""
    return {str(path.relative_to(source)):
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(source.rglob("*"))
            if path.is_file() and not path.is_symlink()
            and "__pycache__" not in path.parts}


def repair(command: str, source: Path) -> "subprocess.CompletedProcess[str]":
    """repair.py COMMAND SOURCE."""
    return subprocess.run([sys.executable, str(REPAIR), command, str(source)],
                          check=False, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def states(source: Path) -> list[str]:
    """What check says of graph and sleep."""
    told = repair("check", source).stdout.splitlines()
    return [line.split(": ")[1] for line in told]


def build_tests(lab: Path, objects: Path) -> None:
    """Builds what changed."""
    lab_build.run(lab, ["nice", "-n", "5", "ninja", f"-j{os.cpu_count()}",
                        *(f"tests/unit/{name}" for name in TESTS)], objects)


def run_tests(objects: Path) -> int:
    """The number of QEMU's subtests that passed; LabError if one did not."""
    passed = 0
    for name in TESTS:
        done = subprocess.run(
            [str(objects / "tests/unit" / name), "--tap"], check=False,
            text=True, cwd=objects / "tests/unit", timeout=600,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        failed = re.findall(r"^not ok .*$", done.stdout, re.MULTILINE)
        if done.returncode or failed:
            raise LabError(f"{name}: status {done.returncode}, {failed}\n"
                           f"{done.stdout[-2000:]}")
        passed += len(re.findall(r"^ok ", done.stdout, re.MULTILINE))
    return passed


def configure(lab: Path, tree: Tree, source: Path, objects: Path) -> None:
    """Tools and unit tests, no system emulator."""
    shutil.rmtree(objects, ignore_errors=True)
    objects.mkdir(parents=True)
    lab_build.run(lab, [str(source / "configure"), *OPTIONS, *tree.options],
                  objects)


def expect(got: Any, wanted: Any, what: str) -> None:
    """LabError unless they are equal."""
    if got != wanted:
        raise LabError(f"{what}: {got}, expected {wanted}")


def try_faulty(lab: Path, source: Path, objects: Path, out: Outcome) -> None:
    """Applies, tests, and takes back."""
    was = digests(source)
    done = repair("apply", source)
    expect(done.returncode, 0, f"apply: {done.stderr}")
    out.applied = ", ".join(done.stdout.splitlines())
    build_tests(lab, objects)
    out.after = run_tests(objects)
    expect(repair("revert", source).returncode, 0, "revert")
    expect(digests(source) == was, True, "the tree is as before")
    out.reverted = f"{len(was):,} files as they were"


def try_tree(lab: Path, tree: Tree) -> Outcome:
    """All that the table says of one tree."""
    folder = lab / "trees" / tree.version
    out = Outcome(tree.version)
    try:
        source, out.source = fetch(tree, folder)
    except SourceMissing as missing:
        out.missing = str(missing).split(";", maxsplit=1)[0]
        return out
    out.check = states(source)
    expect(tuple(out.check), tree.states, f"check of {tree.version}")
    if "faulty" not in out.check:
        expect(repair("apply", source).returncode, 2, "apply")
        out.applied = "refused: nothing to repair"
        return out
    objects = folder / "obj"
    lab_build.say(f"building the unit tests of {out.source}")
    configure(lab, tree, source, objects)
    build_tests(lab, objects)
    out.before = run_tests(objects)
    try_faulty(lab, source, objects, out)
    shutil.rmtree(objects)
    return out


def table(outcomes: list[Outcome]) -> str:
    """As Markdown."""
    rows = []
    for out in outcomes:
        if out.missing:
            rows.append([out.version, f"not to be had: {out.missing}"]
                        + [""] * 4)
            continue
        rows.append([out.source, "graph {}, sleep {}".format(*out.check),
                     "" if out.before is None else f"{out.before} passed",
                     out.applied,
                     "" if out.after is None else f"{out.after} passed",
                     out.reverted])
    return columns(["source", "check", "its unit tests", "apply",
                    "its unit tests", "revert"], rows)


def main() -> int:
    """Command line: 0 when all went as it should, 1 when not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION",
                        help="default: " + " ".join(TREES))
    args = parser.parse_args()
    lab = lab_build.lab_folder()
    lab.mkdir(exist_ok=True)
    for package in TOOLS:
        lab_build.fetch_tool(lab, package)
    outcomes, failed = [], False
    for version in args.versions or TREES:
        try:
            outcomes.append(try_tree(lab, TREES[version]))
        except (LabError, KeyError) as error:
            print(f"trees.py: {version}: {error}", file=sys.stderr)
            failed = True
    text = table(outcomes)
    print(text)
    if not failed and not args.versions:
        keep("trees", "QEMU trees, repaired and reverted",
             {"trees": [vars(out) for out in outcomes]},
             f"QEMU's own {', '.join(TESTS)}, as shipped and repaired.\n\n"
             f"{text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
