"""--no-stop on real QEMUs: hangs are named, busy healthy ones are not.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hang as lab_hang
from forced import forced
from healthy import busy_io, churn
from labqhang import (ERASED, EXIT_FINDING, UNKICKED, WAKE_LOST, Diagnosis,
                      diagnose)
from race import ERASED as RACE_ERASED
from race import GRAPH, HANG, WAKE_BEFORE_ARM

DIAGNOSES = 50


def look(pid: int) -> Diagnosis:
    """A diagnosis that stops nothing."""
    got = diagnose("--no-stop", str(pid))
    assert got.report["target"]["stopped"] is False, got.told()
    assert got.report["pause_ns"] is None, got.told()
    return got


def check_named(got: Diagnosis, pid: int, rule: str) -> None:
    """That rule, strong, with the main thread as the one who waits."""
    assert got.status == EXIT_FINDING, got.told()
    assert got.rules() == [rule], got.told()
    [finding] = got.report["findings"]
    assert finding["certainty"] == "strong", got.told()
    assert finding["waiter_tid"] == pid, got.told()
    main = got.thread(pid)
    assert main["state"] == "blocked", got.told()
    assert "qmp_blockdev_add" in [f["function"] for f in main["frames"]], \
        got.told()


@pytest.mark.parametrize("build, interleaving, rule", [
    ("graphfix", WAKE_BEFORE_ARM, WAKE_LOST),
    ("graphfix", RACE_ERASED, ERASED),
    ("stock", GRAPH, UNKICKED),
])
def test_forced(lab: Path, qhang: Any, build: str, interleaving: str,
                rule: str) -> None:
    """Each fault, forced."""
    with forced(build, interleaving, lab=lab) as (qemu, outcome):
        assert outcome == HANG
        check_named(look(qemu.pid), qemu.pid, rule)


@pytest.mark.parametrize("build, kind, rule", [
    ("graphfix", lab_hang.CACHE_CLEANER, WAKE_LOST),
    ("stock", lab_hang.GRAPH, UNKICKED),
])
def test_natural(lab: Path, qhang: Any, build: str, kind: str,
                 rule: str) -> None:
    """Each kind as it comes by itself; it hangs on afterwards."""
    with lab_hang.hung(build, kind, lab=lab) as hang:
        check_named(look(hang.pid), hang.pid, rule)
        assert not hang.goes_on(0.2)


def test_busy_io(lab: Path, qhang: Any) -> None:
    """Reads and writes by NBD under stress: never a finding."""
    with busy_io("stock", stress=True, iothread=True, lab=lab) as work:
        for _ in range(DIAGNOSES):
            got = look(work.qemu.pid)
            assert not got.rules(), got.told()
        work.wait_step()


def test_churn(lab: Path, qhang: Any) -> None:
    """Nodes opened and closed under stress: never a finding."""
    with churn("fixed", stress=True, lab=lab) as work:
        for _ in range(DIAGNOSES):
            got = look(work.qemu.pid)
            assert not got.rules(), got.told()
        work.wait_step()
