"""Coroutines whose stacks do not name them: found through the heap.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, CLEAN, FINDING, Victim, report

sys.path.insert(0, str(CHECKOUT / "tests"))

# pylint: disable=wrong-import-position
from blind import blind

MOST_BYTES = 64 << 20
# What a CoroutineUContext has at the least.
CONTEXT_BYTES = 128


def coroutines(told: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on how a coroutine was found."""
    return {c["address"]: (c["entry"], c["state"], c["stack_start"],
                           c["context"], c["frames"])
            for c in told["coroutines"]}


def same(told: dict[str, Any], before: dict[str, Any], victim: Victim) -> None:
    """All of them, as they were, and nothing missing."""
    assert told["status"] == before["status"]
    assert told["complete"]
    assert told["incomplete"] == []
    assert coroutines(told) == coroutines(before)
    in_use = [c for c in told["coroutines"] if c["state"] != "pooled"]
    assert len(in_use) == victim.in_use


def forget(pid: int, coroutine: dict[str, Any]) -> None:
    """Wipes out the stack's address in its CoroutineUContext."""
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(int(coroutine["address"], 16))
        context = memory.read(CONTEXT_BYTES)
        stack = int(coroutine["stack_start"], 16).to_bytes(8, "little")
        assert context.count(stack) == 1
        memory.seek(int(coroutine["address"], 16) + context.index(stack))
        memory.write(bytes(8))


@pytest.mark.parametrize("more", [0, 1000])
@pytest.mark.parametrize("scenario, status", [("wake-lost", FINDING),
                                              ("timer-waiting", CLEAN)])
def test_blind(scenario: str, status: int, more: int, tmp_path: Path) -> None:
    """Live, in gcore's core and in the kernel's, like those that see."""
    with Victim(scenario, "--coroutines", str(more), cwd=tmp_path) as victim:
        before = report(str(victim.pid))
        assert before["status"] == status
        assert blind(before) == len(before["coroutines"])
        assert blind(before) == 0
        told = report(str(victim.pid))
        same(told, before, victim)
        assert told["bytes_read"] > before["bytes_read"]
        assert told["bytes_read"] < MOST_BYTES
        if not more:
            core = victim.gcore(tmp_path)
            same(report("--core", core), before, victim)
            core.unlink()
        core = victim.kernel_core(tmp_path)
    same(report("--core", core), before, victim)


def test_one_cannot_be_found(tmp_path: Path) -> None:
    """It is told of, and the others are found in every sample none the less:
    what an earlier search has found is not forgotten."""
    with Victim("wake-lost", "--coroutines", "20") as victim:
        before = report(str(victim.pid))
        blind(before)
        lost = next(c for c in before["coroutines"]
                    if (c["state"], c["entry"]) == ("suspended",
                                                    "park_co_entry"))
        forget(victim.pid, lost)
        told = report(str(victim.pid))
        core = report("--core", victim.gcore(tmp_path))
    assert told["samples"] >= 2
    for [gap], advice in ((told["incomplete"], "take a core"),
                          (core["incomplete"], "the process itself")):
        assert int(gap["address"], 16) == int(lost["stack_start"], 16)
        assert advice in gap["try"]
    left = coroutines(before)
    del left[lost["address"]]
    assert coroutines(told) == left


def test_large_heap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is searched whatever its size, also where a core does not name it."""
    monkeypatch.setenv("GLIBC_TUNABLES",
                       f"glibc.malloc.top_pad={2 * MOST_BYTES}")
    with Victim("wake-lost", cwd=tmp_path) as victim:
        maps = Path(f"/proc/{victim.pid}/maps").read_text().splitlines()
        heap = next(line for line in maps if line.endswith("[heap]"))
        start, end = (int(x, 16) for x in heap.split()[0].split("-"))
        assert end - start > 2 * MOST_BYTES
        before = report(str(victim.pid))
        blind(before)
        same(report(str(victim.pid)), before, victim)
        core = victim.kernel_core(tmp_path)
    same(report("--core", core), before, victim)
