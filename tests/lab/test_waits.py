"""A QEMU that waits for slow I/O has no fault, however long it stands still.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

import build as lab_build
from labqhang import check_clean, diagnose_pid
from waits import draining, guest_draining


@pytest.mark.parametrize("wait", [draining, guest_draining])
def test_right_wait(lab: Path, qhang: Any, wait: Callable) -> None:
    """The main thread drains, with the BQL, and is no finding."""
    lab_build.ensure(["system"])
    with wait(lab) as qemu:
        got = diagnose_pid(qemu.pid)
        check_clean(got)
        functions = [frame["function"]
                     for frame in got.thread(qemu.pid)["frames"]]
        assert "bdrv_drain_all_begin" in functions, got.told()
