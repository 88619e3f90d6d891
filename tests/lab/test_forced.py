"""Each interleaving forced: faulty builds hang in it, the fixed one passes.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable

import pytest

from forced import forced
from labqhang import (check_erased, check_unkicked, check_wake_lost,
                      diagnose_pid, look_clean, truth_of_pid)
from race import (ERASED, GRAPH, HANG, INTERLEAVINGS, SURVIVES,
                  WAKE_BEFORE_ARM, Unreached)

SHORT_INTERVAL_S = 12
HEALS_WITHIN_S = 1.0


@pytest.mark.parametrize("build, interleaving, check", [
    ("graphfix", WAKE_BEFORE_ARM, check_wake_lost),
    ("graphfix", ERASED, check_erased),
    ("stock", GRAPH, check_unkicked),
])
def test_hangs(lab: Path, qhang: Any, build: str, interleaving: str,
               check: Callable[..., None]) -> None:
    """The fault hangs, and qhang names it."""
    with forced(build, interleaving, lab=lab) as (qemu, outcome):
        assert outcome == HANG
        check(diagnose_pid(qemu.pid), qemu.pid, truth_of_pid(qemu.pid))


@pytest.mark.parametrize("interleaving", INTERLEAVINGS)
def test_fixed_survives(lab: Path, qhang: Any, interleaving: str) -> None:
    """The same order of events does no harm to the repaired build."""
    with forced("fixed", interleaving, lab=lab) as (qemu, outcome):
        assert outcome == SURVIVES
        look_clean(qemu.pid)
        qemu.delete()


def test_graph_kick_survives(lab: Path) -> None:
    """The graph lock's repair alone is enough for the graph lock."""
    with forced("graphfix", GRAPH, lab=lab) as (_, outcome):
        assert outcome == SURVIVES


def test_without_a_sleeper(lab: Path) -> None:
    """Where no cleaner is started there is nothing to race."""
    with pytest.raises(Unreached, match="qemu_co_sleep_ns_wakeable"):
        with forced("graphfix", ERASED, interval_s=0, lab=lab):
            pass


def test_heals_when_told(lab: Path, qhang: Any) -> None:
    """A hang that heals by its timer goes on at the moment foretold."""
    with forced("graphfix", WAKE_BEFORE_ARM, interval_s=SHORT_INTERVAL_S,
                lab=lab) as (qemu, outcome):
        assert outcome == HANG
        got = diagnose_pid(qemu.pid)
        assert got.report["findings"][0]["heals"] == "timer", got.told()
        left_s = got.report["findings"][0]["heals_in_ns"] / 1e9
        assert 0 < left_s < SHORT_INTERVAL_S, got.told()
        qemu.qmp.answer(left_s + HEALS_WITHIN_S)
        took_s = (time.monotonic_ns() - got.before_ns) / 1e9
        assert took_s > left_s - HEALS_WITHIN_S, (took_s, left_s)
