"""A QEMU that waits for slow I/O has no fault, however long it stands still.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

import build as lab_build
from labqhang import check_clean, diagnose_pid
from waits import draining, guest_draining


@pytest.mark.parametrize("wait", [draining, guest_draining])
def test_right_wait(lab: Path, qhang: Any, wait: Callable) -> None:
    """The main thread drains, with the BQL, and is no finding."""
    lab_build.ensure(["system"])
    with wait(lab) as qemu:
        got = diagnose_pid(qemu.pid)
        check_clean(got)
        functions = [frame["function"]
                     for frame in got.thread(qemu.pid)["frames"]]
        assert "bdrv_drain_all_begin" in functions, got.told()


# A thread that was caught on its way back into its poll is looked at again.
MOST_LOOKS = 20


def test_chain_of_a_drain(lab: Path, qhang: Any) -> None:
    """The chain leads through the request that is in flight to its timer."""
    with draining(lab) as qemu:
        for _ in range(MOST_LOOKS):
            got = diagnose_pid(qemu.pid)
            check_clean(got)
            graph = got.report["graph"]
            if graph["chain"]:
                break
        chain = [graph["nodes"][node] for node in graph["chain"]]
        assert [node["kind"] for node in chain] \
            == ["thread", "drain", "coroutine", "timer"], got.told()
        assert chain[0]["tid"] == qemu.pid
        assert chain[2]["name"].endswith(" nbd_trip")
        assert graph["roots"] == graph["chain"][-1:]
        assert graph["cycles"] == []
