"""--stop-bound: how long the others stand for a thread that gets to no CPU.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path

from conftest import CLEAN, FAILED, INCOMPLETE, Victim, qhang, report_once

SECONDS, NS = "0.3", 300_000_000


def test_waits_longer(tmp_path: Path) -> None:
    """Each of the commands that stop does as it is told, and all that stand
    still for it are let go."""
    with Victim("runnable-starved") as victim:
        told = report_once("--stop-bound", SECONDS, str(victim.pid))
        looked = qhang("coroutines", "--stop-bound", SECONDS, str(victim.pid))
        kept = qhang("capture", "--stop-bound", SECONDS, str(victim.pid),
                     "-o", tmp_path / "core")
        kicked = qhang("kick", "--yes", "--stop-bound", SECONDS,
                       str(victim.pid))
    later = report_once("--core", tmp_path / "core")
    assert told["status"] == INCOMPLETE
    assert told["pause_ns"] >= NS
    [gap] = told["incomplete"]
    assert "longer to stop, with a larger --stop-bound" in gap["try"]
    [gap] = later["incomplete"]
    assert "capture it again, with a larger --stop-bound" in gap["try"]
    assert looked.returncode == INCOMPLETE
    assert kept.returncode == CLEAN
    assert "1 thread, in state D, or with no CPU" in kept.stdout
    assert kicked.returncode == FAILED
    assert "not all of it could be read" in kicked.stderr


def test_is_not_waited_for() -> None:
    """It is a bound, and no time to be spent: all stop at once."""
    with Victim("idle") as victim:
        told = report_once("--stop-bound", "10", str(victim.pid))
    assert told["status"] == CLEAN
    assert told["pause_ns"] < 10_000_000_000
