"""Processes that do nothing but compute: `busy.py WORKERS SECONDS`.

SPDX-License-Identifier: GPL-2.0-or-later

Takes the place of stress-ng where that is not installed.  The workers end
with this process, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1


def _work(parent: int) -> None:
    """Computes as long as the parent is there."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    while os.getppid() == parent:
        sum(range(10000))
    os._exit(0)


def main() -> int:
    """Starts the workers, waits, and ends them."""
    workers, seconds = int(sys.argv[1]), float(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent, children = os.getpid(), []
    try:
        for _ in range(workers):
            child = os.fork()
            if child == 0:
                _work(parent)
            children.append(child)
        time.sleep(seconds)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
