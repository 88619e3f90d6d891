"""The programs that tests/bench/sleep.py runs, and its plot.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ["QHANG_BUILD"]) / "tests/bench"
sys.path[:0] = [str(CHECKOUT / "tests/bench")]

from svg import Series, survival  # pylint: disable=wrong-import-position

TWINS = ("fixed", "legacy", "mark", "qemu", "tick")


def run(program: str, *args: str) -> str:
    """What a program prints; hanging is failing."""
    return subprocess.run([str(FOLDER / program), *args], check=True,
                          text=True, stdin=subprocess.DEVNULL, timeout=60,
                          stdout=subprocess.PIPE).stdout


@pytest.mark.parametrize("twin", TWINS)
def test_costs(twin: str) -> None:
    rounds = "0" if twin == "tick" else "1000"
    found = json.loads(run(f"sleep_cost_{twin}", rounds, "2"))
    assert found["twin"] == twin
    assert ("bare" in found) == (twin != "tick")
    for where in ("same", "other"):
        row = found[where]
        assert 0 < row["p50"] <= row["p99"] <= row["max"]


@pytest.mark.parametrize("twin", ("fixed", "mark", "qemu"))
def test_cancels(twin: str) -> None:
    """A day's interval: one wake lost would stop the test."""
    lines = run(f"cancel_{twin}", "300", "86400", "1").splitlines()
    assert len(lines) == 300 and all(int(line) > 0 for line in lines)


def test_the_plot_is_sound() -> None:
    """Well-formed, and each curve where its times are."""
    page = survival("a < b", "told", "x & y", "y",
                    [Series("quick", [1e4] * 20, 0),
                     Series("stuck", [1e4] * 19, 1)])
    root = ElementTree.fromstring(page)
    paths = [e.get("d", "") for e in root.iter()
             if e.tag.endswith("path")][::2]
    ends = [path.rsplit("L", 1)[1].split(",") for path in paths]
    assert float(ends[0][0]) < float(ends[1][0])
    assert float(ends[0][1]) > float(ends[1][1])
