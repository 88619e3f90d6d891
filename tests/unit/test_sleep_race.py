"""Real threads race; what is lost is counted, and ThreadSanitizer looks on.

SPDX-License-Identifier: GPL-2.0-or-later

tests/bench/sleep_race.py lets them race ten million times.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(os.environ["SLEEP_RACE_DIR"])
LOSES_NOTHING = ("fixed", "mark", "qemu")
# What ThreadSanitizer ends a program with that it has reported on.
TSAN_STATUS = 66
# One waker; two; and a timer that expires in the middle of it all.
MODES = {"waker": (), "two-wakers": ("--wakers", "2"),
         "timer": ("--timer-us", "20")}


def race(twin: str, races: int, *options: str,
         status: int = 0) -> tuple[dict[str, Any], str]:
    """The counts, and what was said on stderr."""
    env = {**os.environ, "TSAN_OPTIONS": f"exitcode={TSAN_STATUS}"}
    done = subprocess.run(
        [str(FOLDER / f"sleep_race_{twin}"), "--races", str(races), *options],
        check=False, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, timeout=120)
    assert done.returncode == status, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    assert counts["races"] >= races
    return counts, done.stderr


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("twin", LOSES_NOTHING)
def test_nothing_is_lost(twin: str, mode: str) -> None:
    counts, _ = race(twin, 100_000, *MODES[mode])
    assert (counts["never_kicked"], counts["erased"]) == (0, 0), counts


def test_the_faulty_one_loses_some() -> None:
    counts, _ = race("legacy", 1_000_000)
    assert counts["never_kicked"] + counts["erased"] > 0, counts


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("twin", LOSES_NOTHING)
def test_thread_sanitizer_is_content(twin: str, mode: str) -> None:
    counts, told = race(f"{twin}_tsan", 10_000, *MODES[mode])
    assert (counts["never_kicked"], counts["erased"], told) == (0, 0, "")


def test_thread_sanitizer_reports_the_faulty_one() -> None:
    _, told = race("legacy_tsan", 10_000, status=TSAN_STATUS)
    first = told.split("\n\n")[0] + told.split("\n\n")[1]
    assert "data race" in first
    assert "qemu_co_sleep_wake" in first and "qemu_co_sleep " in first


@pytest.mark.parametrize("args", [["--races", "many"], ["--wakers", "3"],
                                  ["--wakers", "0"], ["--no-such"], ["x"]])
def test_wrong_usage_is_told(args: list[str]) -> None:
    done = subprocess.run([str(FOLDER / "sleep_race_fixed"), *args],
                          check=False, text=True, capture_output=True,
                          timeout=60)
    assert done.returncode == 64
    assert "usage:" in done.stderr
