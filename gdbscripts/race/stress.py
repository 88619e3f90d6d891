"""Keeps every CPU busy, so that threads wait for one.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

from .qemu import die_with_parent

START_TIMEOUT_S = 120.0
BUSY = Path(__file__).with_name("busy.py")


def _has_run(pid: int) -> bool:
    """Whether a process has used CPU time of its own (utime, proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return int(stat.rsplit(")", 1)[1].split()[11]) > 0


class StressError(Exception):
    """The stressors do not do what they are there for."""


def _command(workers: int, seconds: int) -> list[str]:
    """What is run to keep so many CPUs busy."""
    program = shutil.which("stress-ng")
    if program:
        return [program, "--quiet", "--cpu", str(workers), "--timeout",
                f"{seconds}s"]
    return [sys.executable, "-EsSB", str(BUSY), str(workers), str(seconds)]


class Stress:
    """Load on every CPU, in the caller's session, for a bounded time.

    By stress-ng where it is installed, else by processes of our own.
    """

    def __init__(self, seconds: int, cpus: Optional[int] = None) -> None:
        """Starts it, and returns when every worker is at it."""
        workers = cpus or os.cpu_count() or 1
        self._process = subprocess.Popen(
            _command(workers, seconds), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=lambda: die_with_parent(signal.SIGTERM))
        try:
            self._wait_busy(workers)
        except BaseException:
            self.stop()
            raise

    def _wait_busy(self, workers: int) -> None:
        """Until so many of its children have used some CPU time."""
        pid = self._process.pid
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.running():
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            if sum(_has_run(int(child)) for child in children.split()
                   ) >= workers:
                return
            time.sleep(0.01)
        raise StressError(f"stressors do not keep {workers} CPUs busy")

    def running(self) -> bool:
        """Whether it still runs (it ends by itself after its time)."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends it; its children end with it."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait()

    def __enter__(self) -> "Stress":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
