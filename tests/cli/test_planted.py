"""Damage in memory that is met in a core, and names that hurt in JSON.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import FINDING, INCOMPLETE, Victim, qhang, report

EXPECTED = {"idle": INCOMPLETE, "wake-lost": FINDING}


@pytest.mark.parametrize("made_by", ["gcore", "kernel"])
@pytest.mark.parametrize("scenario", EXPECTED)
@pytest.mark.parametrize("plant", ["timer-loop", "queue-loop"])
def test_loop_in_a_core(plant: str, scenario: str, made_by: str,
                        tmp_path: Path) -> None:
    """A list that bites its tail ends the walk there too, and is told."""
    with Victim(scenario, "--plant", plant, cwd=tmp_path) as victim:
        core = (victim.gcore(tmp_path) if made_by == "gcore"
                else victim.kernel_core(tmp_path))
    told = report("--core", core)
    assert told["status"] == EXPECTED[scenario]
    assert not told["complete"]
    assert any("circle" in gap["reason"] for gap in told["incomplete"])
    text = qhang("diagnose", "--core", core).stdout
    assert "INCOMPLETE" in text and "runs in a circle" in text


@pytest.mark.parametrize("made_by", [None, "gcore", "kernel"])
def test_names_in_json(made_by: str | None, tmp_path: Path) -> None:
    """Not one byte of the report drives a terminal, and the names are there
    as they are."""
    with Victim("wake-lost", "--plant", "names", cwd=tmp_path) as victim:
        target = [str(victim.pid)]
        if made_by:
            core = (victim.gcore(tmp_path) if made_by == "gcore"
                    else victim.kernel_core(tmp_path))
            target = ["--core", str(core)]
        told = report(*target)
        raw = qhang("diagnose", "--json", *target).stdout
    assert told["status"] == FINDING
    bad = {c for c in raw if c != "\n" and not c.isprintable()}
    assert not bad
    names = [c["name"] or "" for c in told["contexts"]]
    names += [s["cleaner"]["node"] or "" for s in told["sleepers"]
              if s["cleaner"]]
    if not made_by:
        names += [t["name"] or "" for t in told["threads"]]
    assert sum("\x1b" in name for name in names) >= 2
