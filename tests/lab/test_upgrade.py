"""Another sleep put into a running daemon: its sleepers keep running.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import upgraded
from race import ERASED, WAKE_BEFORE_ARM


@pytest.mark.parametrize("iothread", [False, True])
def test_woken(lab: Path, qhang: Any, iothread: bool) -> None:
    """Parked by the faulty code, woken by the fixed wake."""
    upgraded.woken(lab, iothread)


def test_fired(lab: Path, qhang: Any) -> None:
    """Parked by the faulty code, woken by its timer."""
    upgraded.fired(lab)


@pytest.mark.parametrize("interleaving", [WAKE_BEFORE_ARM, ERASED])
def test_raced(lab: Path, qhang: Any, interleaving: str) -> None:
    """Upgraded, the faulty build survives what it hangs in."""
    upgraded.raced(lab, interleaving)


def test_mark_aborts(lab: Path, qhang: Any) -> None:
    """QEMU's own repair can't be put in while somebody sleeps."""
    upgraded.mark_aborts(lab)


def test_mark_alone(lab: Path, qhang: Any) -> None:
    """It can when nobody does: the upgrade itself is not to blame."""
    upgraded.mark_alone(lab)
