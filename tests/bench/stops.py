"""How long a process is stopped while a tool looks at it, seen from outside.

SPDX-License-Identifier: GPL-2.0-or-later

A sampler reads the state of every thread from /proc as fast as it can.  A
stop is the time in which a thread is seen in state `t`.  Sampling sees it from
inside only; the samples before and after it are an upper bound.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any

SAMPLER_TIMEOUT_S = 10.0


class MeasureError(Exception):
    """The sampler or the tool did not work; the text says which."""


@dataclass(frozen=True)
class Stop:
    """The longest stop of any thread during one run, in nanoseconds."""

    seen_ns: int
    at_most_ns: int
    sampling_ns: int

    @property
    def likely_ns(self) -> int:
        """Half-way between the bounds; 0 when no stop was seen at all."""
        return (self.seen_ns + self.at_most_ns) // 2


def open_states(pid: int) -> list[int]:
    """One descriptor of each thread's stat file."""
    return [os.open(f"/proc/{pid}/task/{tid}/stat", os.O_RDONLY)
            for tid in os.listdir(f"/proc/{pid}/task")]


def is_stopped(descriptor: int) -> bool:
    """Whether a thread is in a ptrace stop right now.

    One that has ended is not: QEMU's idle pool workers end by themselves.
    """
    try:
        line = os.pread(descriptor, 512, 0)
    except ProcessLookupError:
        return False
    return line[line.rindex(b")") + 2:][:1] == b"t"


def sample(pid: int, ready: Event, finish: Event, results: Any) -> None:
    """Samples until told to finish; puts a Stop into `results`."""
    threads = open_states(pid)
    clear_ns = [0] * len(threads)
    first_ns = [0] * len(threads)
    last_ns = [0] * len(threads)
    seen = at_most = passes = 0
    started = time.monotonic_ns()
    for index in range(len(threads)):
        clear_ns[index] = started
    ready.set()
    while not finish.is_set():
        passes += 1
        for index, descriptor in enumerate(threads):
            stopped = is_stopped(descriptor)
            now = time.monotonic_ns()
            if stopped:
                first_ns[index] = first_ns[index] or now
                last_ns[index] = now
                continue
            if first_ns[index]:
                seen = max(seen, last_ns[index] - first_ns[index])
                at_most = max(at_most, now - clear_ns[index])
                first_ns[index] = 0
            clear_ns[index] = now
    took = time.monotonic_ns() - started
    results.put(Stop(seen, at_most, took // max(passes, 1)))


def measure(pid: int, argv: list[str],
            status: int) -> tuple[Stop, float]:
    """Runs a tool under the sampler; its longest stop and its seconds.

    MeasureError when it ends with another status or prints nothing.
    """
    ready, finish = multiprocessing.Event(), multiprocessing.Event()
    results: Any = multiprocessing.Queue()
    sampler = multiprocessing.Process(
        target=sample, args=(pid, ready, finish, results), daemon=True)
    sampler.start()
    if not ready.wait(SAMPLER_TIMEOUT_S):
        raise MeasureError(f"no sampler could be started on {pid}")
    started = time.monotonic()
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    took = time.monotonic() - started
    finish.set()
    stop = results.get(timeout=SAMPLER_TIMEOUT_S)
    sampler.join()
    if done.returncode != status or not done.stdout:
        told = done.stdout.decode(errors="replace") or "and printed nothing"
        raise MeasureError(f"{' '.join(argv)}: status {done.returncode}, "
                           f"wanted {status}\n{told}")
    return stop, took
