"""The SPIN models of sleep/wake and graph lock, right and with -DBUG.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parents[2] / "cfix/check/spin"

pytestmark = pytest.mark.skipif(
    shutil.which("spin") is None,
    reason="spin is not installed: apt-get install spin")


def verify(folder: Path, model: str, *defines: str) -> tuple[int, str]:
    """The number of errors that SPIN finds, and all that it prints."""
    subprocess.run(["spin", "-a", *defines, str(MODELS / model)], cwd=folder,
                   check=True, stdout=subprocess.DEVNULL, timeout=60)
    subprocess.run(["gcc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
                   cwd=folder, check=True, timeout=120)
    done = subprocess.run(["./pan", "-m100000"], cwd=folder, check=True,
                          text=True, stdout=subprocess.PIPE, timeout=120)
    found = re.search(r"errors: (\d+)", done.stdout)
    assert found, done.stdout
    assert "max search depth too small" not in done.stdout
    assert "Search not completed" not in done.stdout or found[1] != "0"
    return int(found[1]), done.stdout


@pytest.mark.parametrize("model,defines", [
    ("sleep.pml", ()), ("sleep.pml", ("-DTIMER",)), ("graph.pml", ())])
def test_the_right_one_has_no_error(tmp_path: Path, model: str,
                                    defines: tuple[str, ...]) -> None:
    errors, text = verify(tmp_path, model, *defines)
    assert errors == 0, text


@pytest.mark.parametrize("model,defines", [
    ("sleep.pml", ()), ("sleep.pml", ("-DTIMER",)), ("graph.pml", ())])
def test_the_faulty_one_ends_with_somebody_waiting(
        tmp_path: Path, model: str, defines: tuple[str, ...]) -> None:
    errors, text = verify(tmp_path, model, "-DBUG", *defines)
    assert errors == 1
    assert "invalid end state" in text
