"""A hang that the stop itself ends: what was there before is told.

SPDX-License-Identifier: GPL-2.0-or-later

The victim's main thread waits in epoll_wait() for what has come already. A
tracer's stop has that return with EINTR, so that the thread looks again.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from conftest import (CHECKOUT, CLEAN, FAILED, FINDING, LIMIT_S, MOST_LOOKS,
                      Victim, qhang, report, report_once)
from test_diagnose import functions, thread

STIRRING_STOPS = int(re.findall(
    r"#define STIRRING_STOPS (\d+)",
    (CHECKOUT / "tests/victims/stir.h").read_text())[0])
RULE, WAITER = "wait.condition-met", "aio_wait_bh_oneshot"


def changes(told: dict[str, Any]) -> list[str]:
    """What is told to have been before the stop."""
    return [note["text"] for note in told["context"]
            if note["what"] == "stop.changed"]


def test_cured() -> None:
    """It hangs for as long as one only looks. The first stop ends that, which
    the report says, and no hang is left."""
    with Victim("stop-cures") as victim:
        looked = report("--no-stop", str(victim.pid))
        assert looked["status"] == FINDING
        assert looked["findings"][0]["rule"] == RULE
        assert WAITER in functions(thread(looked, victim.pid))
        told = report(str(victim.pid))
        assert victim.read_line(LIMIT_S) == "returned x-call\n"
        after = report(str(victim.pid))
    assert told["status"] == CLEAN
    [note] = changes(told)
    assert RULE in note and "a stop can end a hang" in note
    assert told["samples"] >= 2
    assert (after["status"], changes(after)) == (CLEAN, [])


def test_cured_in_the_text() -> None:
    """Below the verdict, which alone would be misleading."""
    with Victim("stop-cures") as victim:
        told = qhang("diagnose", str(victim.pid))
    assert told.returncode == CLEAN
    verdict, context = told.stdout.split("no hang found")
    assert RULE not in verdict
    assert f"before the stop it looked like {RULE}" in " ".join(
        context.split())


def test_cured_before_a_kick() -> None:
    """There is nothing left to kick, and kick says what ended it."""
    with Victim("stop-cures") as victim:
        told = qhang("kick", "--yes", str(victim.pid))
        assert victim.read_line(LIMIT_S) == "returned x-call\n"
        again = qhang("kick", "--yes", str(victim.pid))
    assert told.returncode == again.returncode == FAILED
    assert f"looked like {RULE} until it was stopped" in told.stderr
    assert "nothing was written" in told.stderr
    assert "no hang found" in again.stderr


def test_twin() -> None:
    """Whose stop ends the same call, but not what it waits for."""
    with Victim("stop-cures-twin") as victim:
        for way in ([], ["--no-stop"]):
            told = report(*way, str(victim.pid))
            assert told["status"] == CLEAN
            assert changes(told) == []
            assert "wait.rightly" in [n["what"] for n in told["context"]]


def test_stirred() -> None:
    """Each stop wakes threads, and on a busy host it takes them long to be back
    asleep. A hang that was there before the first one is waited for."""
    for _ in range(MOST_LOOKS):
        with Victim("graph-unkicked-stirred") as victim:
            told = report_once(str(victim.pid))
        if not told["incomplete"]:  # no thread was kept from a CPU
            break
    assert told["status"] == FINDING
    assert told["findings"][0]["rule"] == "graph.writer-unkicked"
    assert told["findings"][0]["samples"] >= 2
    assert told["samples"] > STIRRING_STOPS


def test_core_has_it(tmp_path: Path) -> None:
    """gcore's stop cures it as well; the core is of the moment before."""
    with Victim("stop-cures") as victim:
        core = victim.gcore(tmp_path)
        assert victim.read_line(LIMIT_S) == "returned x-call\n"
    told = report("--core", core)
    assert told["status"] == FINDING
    assert told["findings"][0]["rule"] == RULE
