"""What each suspended coroutine of a victim waits for, live and from a core.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Victim, report

PARKED = 40
# tests/victims/park.c: the index of each modulo 4 is its kind.
IN_MUTEX = len([i for i in range(PARKED) if i % 4 == 1]) - 1
IN_SLEEP = len([i for i in range(PARKED) if i % 4 == 3])


def operands(wait: dict[str, Any]) -> dict[str, int | None]:
    """The values of a wait by what they are."""
    return {item["what"]: item["value"] for item in wait["operands"]}


def of_kind(told: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The waits of coroutines of that kind."""
    return [w for w in told["waits"] if w["kind"] == kind and w["coroutine"]]


def coroutine(told: dict[str, Any], address: str | None) -> dict[str, Any]:
    """The coroutine at that address."""
    return next(c for c in told["coroutines"] if c["address"] == address)


def check_parked(told: dict[str, Any]) -> None:
    """One wait a suspended coroutine; the mutex knows its owner, who has
    neither queue nor lock to wait for."""
    assert told["incomplete"] == []
    suspended = [c["address"] for c in told["coroutines"]
                 if c["state"] == "suspended"]
    waiters = Counter(w["coroutine"] for w in told["waits"] if w["coroutine"])
    assert waiters == Counter(suspended)
    mutex = [w for w in of_kind(told, "co-mutex")
             if w["function"].startswith("qemu_co_mutex_lock")]
    assert len(mutex) == IN_MUTEX
    [owner] = {w["owner_coroutine"] for w in mutex}
    [_] = {w["object"] for w in mutex}
    assert "park_in_mutex" in {f["function"]
                               for f in coroutine(told, owner)["frames"]}
    assert owner not in {w["coroutine"] for w in mutex}
    for wait in mutex:
        values = operands(wait)
        assert values["locked"] == 1 + IN_MUTEX
        assert values["holder"] == int(owner, 16)
        assert (values["handoff"], values["listed"]) == (0, 1)
    sleeps = [w for w in of_kind(told, "sleep") if not w["object_name"]]
    assert len(sleeps) == IN_SLEEP
    assert len({w["object"] for w in sleeps}) == IN_SLEEP
    for wait in sleeps:
        assert operands(wait)["to_wake"] == int(wait["coroutine"], 16)


@pytest.mark.parametrize("program", ["victim", "victim-O0"])
@pytest.mark.parametrize("source", ["live", "core"])
def test_parked(program: str, source: str, tmp_path: Path) -> None:
    """Each of the four kinds, beside a hang, whose own waits are told too."""
    with Victim("wake-lost", "--coroutines", str(PARKED),
                program=program) as victim:
        if source == "core":
            told = report("--core", victim.gcore(tmp_path))
        else:
            told = report(str(victim.pid))
        pid = victim.pid
    check_parked(told)
    [cleaner] = [w for w in of_kind(told, "sleep") if w["object_name"]]
    assert cleaner["object_name"] == "q0"
    sleeper = next(s for s in told["sleepers"] if s["cleaner"])
    assert cleaner["object"] == sleeper["wake_address"]
    exits = [w for w in of_kind(told, "co-queue")
             if w["object"] == sleeper["cleaner"]["exit_queue"]]
    assert [w["coroutine"] for w in exits] == sleeper["cleaner"]["waiters"]
    assert operands(exits[0])["listed"] == 1
    [command] = of_kind(told, "bottom-half")
    assert (command["object_name"], command["owner_tid"]) == ("blockdev-del",
                                                              pid)
    assert command["coroutine"] == told["qmp_coroutine"]
