"""Runs inside gdb: what really is the case in a hung QEMU, as one JSON line.

SPDX-License-Identifier: GPL-2.0-or-later

The tests compare qhang with this.  It goes another way than the collector
does: from the block graph's list of nodes down to the qcow2 state, with
gdb's own reading of the debug information.
"""

import json
from typing import Any, Iterator, Optional

import gdb


def _number(value: gdb.Value) -> int:
    return int(value.cast(gdb.lookup_type("unsigned long")))


def _nodes() -> Iterator[gdb.Value]:
    """Every BlockDriverState."""
    node = gdb.parse_and_eval("all_bdrv_states")["tqh_first"]
    while _number(node):
        yield node.dereference()
        node = node["bs_list"]["tqe_next"]


def _qcow2_state() -> Optional[gdb.Value]:
    """The private state of the one qcow2 node."""
    pointer = gdb.lookup_type("struct BDRVQcow2State").pointer()
    for node in _nodes():
        if not _number(node["drv"]):
            continue
        if node["drv"]["format_name"].string() == "qcow2":
            return node["opaque"].cast(pointer).dereference()
    return None


def _home_thread(context: int) -> Optional[int]:
    """The kernel's id of the thread whose own AioContext this is."""
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        if _number(gdb.parse_and_eval("co_tls_my_aiocontext")) == context:
            return thread.ptid[1]
    return None


def _timer_of(context: gdb.Value, word: int) -> Optional[gdb.Value]:
    """The timer that would wake the sleeper on `word`."""
    for clock in range(4):
        timer = context["tlg"]["tl"][clock]["active_timers"]
        while _number(timer):
            if _number(timer["opaque"]) == word:
                return timer.dereference()
            timer = timer["next"]
    return None


def _sleeper() -> dict[str, Any]:
    """The cache cleaner's side; empty when there is no qcow2 node."""
    state = _qcow2_state()
    if state is None or not _number(state["cache_clean_timer_co"]):
        return {}
    coroutine = state["cache_clean_timer_co"]
    context = coroutine["ctx"]
    word = state["cache_clean_timer_wake"]
    timer = _timer_of(context, _number(word.address))
    return {
        "interval": int(state["cache_clean_interval"]),
        "coroutine": _number(coroutine),
        "wake_address": _number(word.address),
        "to_wake": _number(word["to_wake"]),
        "context": _number(context),
        "tid": _home_thread(_number(context)),
        "expire_time_ns": int(timer["expire_time"]) if timer else None,
    }


def _readers() -> int:
    """The block graph's number of readers: a sum modulo 2**32."""
    total = int(gdb.parse_and_eval("orphaned_reader_count"))
    lock = gdb.parse_and_eval("aio_context_list")["tqh_first"]
    while _number(lock):
        total += int(lock["reader_count"])
        lock = lock["next_aio"]["tqe_next"]
    return total % 2**32


def _main_functions() -> list[str]:
    inferior = gdb.selected_inferior()
    for thread in inferior.threads():
        if thread.ptid[1] == inferior.pid:
            thread.switch()
    names = []
    frame: Optional[gdb.Frame] = gdb.newest_frame()
    while frame is not None:
        names.append(frame.name() or "")
        frame = frame.older()
    return names


print("TRUTH " + json.dumps({
    "sleeper": _sleeper(),
    "readers": _readers(),
    "has_writer": int(gdb.parse_and_eval("has_writer")),
    "main": _main_functions(),
}))
