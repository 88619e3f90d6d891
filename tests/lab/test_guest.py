"""A booted guest at its disk: no finding, and it goes on unharmed.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import build as lab_build
from guest import BEGINNINGS, at_work
from labqhang import look_clean

DIAGNOSES = 5


@pytest.mark.parametrize("what", BEGINNINGS)
def test_guest(lab: Path, qhang: Any, what: str) -> None:
    """With a job, an export or a stopped VM beside it."""
    lab_build.ensure(["system"])
    with at_work(what, lab=lab) as work:
        for _ in range(DIAGNOSES):
            look_clean(work.qemu.pid)
            work.wait_step()
