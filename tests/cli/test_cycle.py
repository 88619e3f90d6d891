"""Circles of threads and coroutines, live and from cores; orders are none.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import CLEAN, FINDING, Victim, qhang, report

PROGRAMS = ["victim", "victim-O0"]
# The kinds of the nodes around the circle, from its first thread or coroutine.
CIRCLES = {
    "mutex-cycle": ["thread", "mutex", "thread", "mutex"],
    "co-mutex-cycle": ["coroutine", "co-mutex", "coroutine", "co-mutex"],
    "bql-cycle": ["thread", "poll", "coroutine", "thread", "bql"],
}
# Those that have a name.
KNOWN = {"bql-cycle": "bql.poll"}
# Whom the circle is made of, by what the graph calls them, in their order.
MEMBERS = {
    "mutex-cycle": ["iothread io0", "iothread io1"],
    "co-mutex-cycle": ["first_co_entry", "second_co_entry"],
    "bql-cycle": ["main thread", "flush_co_entry", "iothread io0"],
}
# Who holds the lock that all wait for in the end.
CULPRITS = {
    "mutex-order": "iothread io0",
    "co-mutex-order": "first_co_entry",
    "bql-order": "(owner)",
}


def turned(items: list[Any]) -> list[list[Any]]:
    """The same circle, told from each of its places."""
    return [items[i:] + items[:i] for i in range(len(items))]


def check_circle(told: dict[str, Any], scenario: str) -> None:
    """The finding, its participants, and the chain that leads to them."""
    graph = told["graph"]
    assert told["status"] == FINDING
    [finding] = told["findings"]
    assert (finding["rule"], finding["certainty"], finding["heals"]) \
        == ("lock.cycle", "proof", "never")
    assert finding["user"] == KNOWN.get(scenario)
    [cycle] = graph["cycles"]
    around = [graph["nodes"][i] for i in cycle["nodes"]]
    assert CIRCLES[scenario] in turned([node["kind"] for node in around])
    names = [node["name"] for node in around
             if node["kind"] in ("thread", "coroutine")]
    assert any(all(member in name for member, name in zip(MEMBERS[scenario], t))
               for t in turned(names))
    # Each participant has a line, which begins with it.
    whats = [evidence["what"] for evidence in finding["evidence"]]
    assert len(whats) == len(names)
    assert all(any(what.startswith(name) for what in whats) for name in names)
    start, end = graph["chain"][0], graph["chain"][-1]
    assert graph["nodes"][start]["tid"] == told["target"]["pid"]
    assert graph["nodes"][end]["cycle"] == 0


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", CIRCLES)
def test_live(scenario: str, program: str) -> None:
    """The running process, confirmed by a second sample."""
    with Victim(scenario, program=program) as victim:
        told = report(str(victim.pid))
    check_circle(told, scenario)
    assert told["findings"][0]["samples"] >= 2


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", CIRCLES)
def test_gcore(scenario: str, program: str, tmp_path: Path) -> None:
    """A core that gcore wrote."""
    with Victim(scenario, program=program) as victim:
        core = victim.gcore(tmp_path)
    check_circle(report("--core", core), scenario)


@pytest.mark.parametrize("scenario", CIRCLES)
def test_kernel_core(scenario: str, tmp_path: Path) -> None:
    """A core that the kernel wrote."""
    with Victim(scenario, cwd=tmp_path) as victim:
        core = victim.kernel_core(tmp_path)
    check_circle(report("--core", core), scenario)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("scenario", CULPRITS)
def test_order_is_clean(scenario: str, program: str) -> None:
    """No finding; the chain leads to the one who holds everybody up."""
    with Victim(scenario, program=program) as victim:
        told = report(str(victim.pid))
    graph = told["graph"]
    assert told["status"] == CLEAN
    assert graph["cycles"] == []
    assert CULPRITS[scenario] in graph["nodes"][graph["chain"][-1]]["name"]
    assert graph["chain"][-1] in graph["roots"]


@pytest.mark.parametrize("scenario", CIRCLES)
def test_text(scenario: str) -> None:
    """The text names each participant in 80 columns."""
    with Victim(scenario) as victim:
        done = qhang("diagnose", str(victim.pid))
    assert done.returncode == FINDING
    lines = done.stdout.splitlines()
    assert lines[2].startswith("HANG  deadlock: the BQL is held in a poll"
                               if scenario in KNOWN else "HANG  deadlock of ")
    assert lines[2].endswith("lock.cycle, proof")
    assert "  heals     never by itself" in lines
    assert all(len(line) <= 80 for line in lines)
    for member in MEMBERS[scenario]:
        assert member in done.stdout
