"""What could not be seen whole never looks like a clean bill of health.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import FINDING, INCOMPLETE, VICTIMS, Victim, report


def libc_of(pid: int) -> Path:
    """The C library that a process has mapped."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = line.split()[-1]
        if Path(path).name == "libc.so.6":
            return Path(path)
    pytest.fail(f"{VICTIMS} are not linked with libc.so.6")


def test_library_of_a_core_is_missing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core brought from elsewhere: the waiter sleeps in a library that is
    not here, so that its stack cannot be walked."""
    with Victim("idle") as victim:
        original = libc_of(victim.pid)
    library = tmp_path / original.name
    shutil.copy(original, library)
    with monkeypatch.context() as scope:
        scope.setenv("LD_LIBRARY_PATH", str(tmp_path))
        victim = Victim("graph-unkicked")
    with victim:
        assert libc_of(victim.pid) == library
        core = victim.gcore(tmp_path)
    assert report("--core", core)["status"] == FINDING
    library.unlink()
    told = report("--core", core)
    core.unlink()
    assert told["status"] == INCOMPLETE
    stacks = [gap for gap in told["incomplete"]
              if gap["what"] == f"stack of thread {victim.pid}"]
    assert len(stacks) == 1
    assert str(library) in stacks[0]["reason"]
    assert stacks[0]["try"]
