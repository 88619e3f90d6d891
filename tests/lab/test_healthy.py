"""Busy, healthy QEMUs: no finding, and their work is not harmed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from healthy import busy_io, churn, throttled_io
from labqhang import check_clean, diagnose_pid, look_clean

DIAGNOSES = 5


def test_churn_under_stress(lab: Path, qhang: Any) -> None:
    """The fixed build opens and closes nodes while the CPUs are busy."""
    with churn("fixed", stress=True, lab=lab) as work:
        for _ in range(DIAGNOSES):
            look_clean(work.qemu.pid)
            work.wait_step()


@pytest.mark.parametrize("build, iothread", [
    ("stock", True), ("stock", False), ("graphfix", True)])
def test_io_under_stress(lab: Path, qhang: Any, build: str,
                         iothread: bool) -> None:
    """A faulty build that is not in its fault: reads and writes by NBD."""
    with busy_io(build, stress=True, iothread=iothread, lab=lab) as work:
        for _ in range(DIAGNOSES):
            look_clean(work.qemu.pid)
        work.wait_step()


@pytest.mark.parametrize("stress", [False, True])
def test_throttled(lab: Path, qhang: Any, stress: bool) -> None:
    """Requests that are throttled, and let go in time."""
    with throttled_io("stock", stress=stress, lab=lab) as work:
        for _ in range(4 * DIAGNOSES):
            look_clean(work.qemu.pid)
        work.wait_step()


@pytest.mark.parametrize("build", ["stock", "graphfix"])
def test_churn_at_rest(lab: Path, qhang: Any, build: str) -> None:
    """Without stressors the faulty builds open and close nodes too.

    On a machine with other work one may hang after all; a finding then is
    true, which shows in that no step follows.
    """
    clean = 0
    for _ in range(DIAGNOSES):
        with churn(build, stress=False, lab=lab) as work:
            while clean < DIAGNOSES and not work.failure:
                got = diagnose_pid(work.qemu.pid)
                if not work.goes_on():
                    break
                check_clean(got)
                clean += 1
        if clean == DIAGNOSES:
            return
    pytest.fail(f"{build}: hung for real before {DIAGNOSES} diagnoses")
