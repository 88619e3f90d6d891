"""A coroutine that is just being made is none yet, and hides nothing.

SPDX-License-Identifier: GPL-2.0-or-later

From makecontext() on, its stack looks like a coroutine's; a core may be taken
in the middle of it, and a stop may fall there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT, CLEAN, VICTIMS, report

sys.path.insert(0, str(CHECKOUT / "tests"))

# pylint: disable=wrong-import-position
from making import cores


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
def test_steps(program: str, tmp_path: Path) -> None:
    """All of each core is read, and no coroutine told that is not there."""
    for step, core in cores([VICTIMS / program, "--scenario", "idle"],
                            tmp_path):
        told = report("--core", core)
        assert told["status"] == CLEAN, step
        assert len(told["coroutines"]) == step.coroutines, step
    assert [c["state"] for c in told["coroutines"]] == ["created"]
