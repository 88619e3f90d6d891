"""A stripped daemon, hung by itself, with its debug file here, there, nowhere.

SPDX-License-Identifier: GPL-2.0-or-later

One hung process serves all tests.  Each puts the debug file where it wants
it and takes it away again; the last ones replace the binary on disk, which
can't be taken back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import pytest

import hang as lab_hang
from labqemu import DAEMON
from labqhang import (TIMEOUT_S, check_wake_lost, diagnose, diagnose_core,
                      gcore, qhang_program, truth)

EXIT_FAILED = 3
SYSTEM_DEBUG = Path("/usr/lib/debug/.build-id")
# What no two looks at the same hang agree on.
PASSING = ("heals_in_ns", "samples", "summary")


def build_id_of(program: Path) -> str:
    """As binutils reads it."""
    notes = subprocess.run(["readelf", "-n", program], check=True,
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                           text=True).stdout
    return notes.split("Build ID: ")[1].split()[0]


@dataclass(frozen=True)
class Stripped:
    """A hung daemon without symbols, and its debug file kept elsewhere."""

    hang: lab_hang.Hang
    program: Path
    debug: Path
    build_id: str
    known: dict[str, Any]
    reference: dict[str, Any]

    @property
    def pid(self) -> str:
        """As an argument."""
        return str(self.hang.pid)

    def by_build_id(self, root: Path) -> Path:
        """Where below `root` a debug file of this build-id belongs."""
        return root / self.build_id[:2] / f"{self.build_id[2:]}.debug"

    @property
    def by_link(self) -> Path:
        """Where .gnu_debuglink says that it is."""
        return self.program.parent / f"{DAEMON}.debug"


def strip(whole: Path, program: Path, debug: Path) -> None:
    """Parts a program into one without symbols and a debug file, which it
    links to by the name NAME.debug."""
    with tempfile.TemporaryDirectory(dir=debug.parent) as scratch:
        link = Path(scratch) / f"{whole.name}.debug"
        subprocess.run(["objcopy", "--only-keep-debug", whole, link],
                       check=True)
        subprocess.run(["objcopy", "--strip-all",
                        f"--add-gnu-debuglink={link}", whole, program],
                       check=True)
        link.rename(debug)


@contextmanager
def put(debug: Path, place: Path) -> Iterator[None]:
    """The debug file is at `place` in the block; no folder is left there.

    Raises OSError when it can't be put there, or something is there.
    """
    made = [p for p in (place.parent, *place.parent.parents)
            if not p.is_dir()]
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(debug, place)
    except OSError:
        with debug.open("rb") as source, place.open("xb") as copy:
            shutil.copyfileobj(source, copy)
    try:
        yield
    finally:
        place.unlink()
        for folder in made:
            folder.rmdir()


@pytest.fixture(scope="module", name="stripped")
def fixture_stripped(lab: Path, qhang: Path,
                     tmp_path_factory: pytest.TempPathFactory
                     ) -> Iterator[Stripped]:
    """The hung process.  The reference is what qhang says with the program
    as it was before it was stripped, on a core of the same process."""
    folder = tmp_path_factory.mktemp("stripped")
    (folder / "bin").mkdir()
    whole = lab / "bin/graphfix" / DAEMON
    program = folder / "bin" / DAEMON
    build_id = build_id_of(whole)
    kept = folder / "debug/.build-id" / build_id[:2]
    kept.mkdir(parents=True)
    debug = kept / f"{build_id[2:]}.debug"
    strip(whole, program, debug)
    with lab_hang.hung("graphfix", lab=lab, exe=program,
                       debuginfo=folder / "debug") as hang:
        known = truth(str(whole), str(hang.pid))
        core = gcore(hang.pid, folder)
        reference = diagnose_core(core, whole)
        core.unlink()
        check_wake_lost(reference, hang.pid, known, live=False)
        yield Stripped(hang, program, debug, build_id, known,
                       reference.report)
        assert not hang.goes_on(0.2), "it went on: was it diagnosed or woken?"


def findings(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings but for what passes; of evidence, where and what value."""
    told = []
    for finding in report["findings"]:
        kept = {k: v for k, v in finding.items() if k not in PASSING}
        kept["evidence"] = [(e["address"], e["value"])
                            for e in finding["evidence"]]
        told.append(kept)
    return told


def stacks(report: dict[str, Any]) -> dict[str, Any]:
    """Every frame of every coroutine and of the threads of QEMU's own."""
    told = {c["address"]: c["frames"] for c in report["coroutines"]}
    told.update({t["tid"]: t["frames"] for t in report["threads"]
                 if t["role"] in ("main", "iothread")})
    return told


def check_same(stripped: Stripped, *options: str) -> None:
    """Diagnosed like the whole program: the truth, and the same findings."""
    got = diagnose(*options, stripped.pid)
    check_wake_lost(got, stripped.hang.pid, stripped.known)
    assert findings(got.report) == findings(stripped.reference), got.told()
    assert stacks(got.report) == stacks(stripped.reference), got.told()
    assert got.report["target"]["build_id"] == stripped.build_id


def refused(stripped: Stripped, *options: str) -> str:
    """qhang could not examine it; nothing on stdout; gives stderr."""
    argv = [str(arg) for arg in (qhang_program(), "diagnose", *options,
                                 stripped.pid)]
    done = subprocess.run(argv, check=False, text=True, timeout=TIMEOUT_S,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    told = f"{' '.join(argv)}\nstatus {done.returncode}\n{done.stderr}"
    assert done.returncode == EXIT_FAILED, told
    assert done.stdout == "", told
    assert stripped.build_id in done.stderr, told
    return done.stderr


def test_none(stripped: Stripped, tmp_path: Path) -> None:
    """Names the build-id and every place where it looked."""
    told = refused(stripped)
    assert str(stripped.by_build_id(SYSTEM_DEBUG)) in told
    assert str(stripped.by_link) in told
    assert "--debuginfo" in told
    told = refused(stripped, "--debuginfo", str(tmp_path))
    assert str(stripped.by_build_id(tmp_path / ".build-id")) in told


def test_none_as_json(stripped: Stripped) -> None:
    """--json prints nothing either."""
    refused(stripped, "--json")


def test_option(stripped: Stripped, tmp_path: Path) -> None:
    """By build-id, in the folder that --debuginfo names."""
    place = stripped.by_build_id(tmp_path / ".build-id")
    with put(stripped.debug, place):
        check_same(stripped, "--debuginfo", str(tmp_path))


def test_system_folder(stripped: Stripped) -> None:
    """By build-id, where packages put them."""
    place = stripped.by_build_id(SYSTEM_DEBUG)
    try:
        with put(stripped.debug, place):
            check_same(stripped)
    except PermissionError as error:
        pytest.skip(f"{SYSTEM_DEBUG} can't be written to: {error}")
    assert not place.exists()


def test_debuglink(stripped: Stripped) -> None:
    """By name, beside the program."""
    with put(stripped.debug, stripped.by_link):
        check_same(stripped)


def test_debuglink_in_its_folder(stripped: Stripped) -> None:
    """By name, in .debug beside the program."""
    place = stripped.by_link.parent / ".debug" / stripped.by_link.name
    with put(stripped.debug, place):
        check_same(stripped)


def test_debuglink_of_another_build(stripped: Stripped, lab: Path,
                                    tmp_path: Path) -> None:
    """A file of that name for another build is not taken for it."""
    other = tmp_path / stripped.by_link.name
    strip(lab / "bin/stock" / DAEMON, tmp_path / DAEMON, other)
    with put(other, stripped.by_link):
        refused(stripped)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_gone_from_disk(stripped: Stripped, lab: Path, tmp_path: Path,
                        how: str) -> None:
    """An update has put another build in its place, or it was removed.

    Stands last: what runs is off the disk from here on.
    """
    if how == "replaced":
        update = stripped.program.with_suffix(".new")
        shutil.copy(lab / "bin/fixed" / DAEMON, update)
        update.replace(stripped.program)
    else:
        stripped.program.unlink()
    link = os.readlink(f"/proc/{stripped.pid}/exe")
    assert link.endswith(" (deleted)"), link
    refused(stripped)
    place = stripped.by_build_id(tmp_path / ".build-id")
    with put(stripped.debug, place):
        check_same(stripped, "--debuginfo", str(tmp_path))
    with put(stripped.debug, stripped.by_link):
        check_same(stripped)
