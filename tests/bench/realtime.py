"""Keeps what else runs on the machine out of a measurement.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os

OPTION_HELP = ("run what is measured at real-time priority, for a machine "
               "with other work (needs CAP_SYS_NICE)")


def prefer(pid: int) -> None:
    """All threads of a process, and what it starts from now on, go before
    every ordinary one.  PermissionError where that is not allowed."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        os.sched_setscheduler(int(tid), os.SCHED_FIFO, os.sched_param(1))
