"""kick: one that is killed leaves nothing half done.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

from conftest import (CLEAN, LIMIT_S, QHANG, Victim, qhang, task_states,
                      traced_by, wait_until)
from kicking import assert_goes_on, dry, peek

# So many in a test run; 200 have been made: QHANG_KILLS.
KILLS = int(os.environ.get("QHANG_KILLS", 40))


class Killed:
    """Kicks that are killed at random; whatever they left, is looked at."""

    def __init__(self) -> None:
        seed = int(os.environ.get("QHANG_SEED",
                                  random.SystemRandom().getrandbits(32)))
        print(f"QHANG_SEED={seed}")
        self.random = random.Random(seed)
        self.whole_s = 0.9  # a kick takes so long, on a host with a free CPU
        self.killed = 0
        self.rescued = 0  # by one of those that were killed

    def kill_one(self, pid: int) -> bool:
        """Whether it was killed before its end. Every other one is killed near
        its writes: they come right after the plan has been shown."""
        late = bool(self.random.getrandbits(1))
        child = subprocess.Popen(
            [str(QHANG), "kick", "--yes", str(pid)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert child.stdout
        if late:
            for line in child.stdout:
                if "notify" in line:
                    break
            time.sleep(self.random.uniform(0, self.whole_s / 100))
        else:
            time.sleep(self.random.uniform(0, self.whole_s))
        child.send_signal(signal.SIGKILL)
        child.stdout.close()
        killed = child.wait(LIMIT_S) == -signal.SIGKILL
        self.killed += killed
        return killed


def test_killed_at_any_instant() -> None:
    """The target is never left stopped; it hangs as before, or goes on."""
    kills = Killed()
    while kills.killed < KILLS:
        with Victim("erased", "--timers", "2") as victim:
            began = time.monotonic()
            shown = dry(victim)
            kills.whole_s = max(kills.whole_s, time.monotonic() - began)
            untouched = True
            while untouched and kills.killed < KILLS:
                killed = kills.kill_one(victim.pid)
                wait_until(lambda: traced_by(victim.pid) == {0} and
                           not set(task_states(victim.pid).values())
                           & set("tT"), "all are let go")
                untouched = all(peek(victim.pid, at) == old
                                for at, old, _ in shown)
            if untouched:
                assert qhang("kick", "--yes",
                             str(victim.pid)).returncode == CLEAN
            else:
                kills.rescued += killed
            assert_goes_on(victim, "erased")
    print(f"{kills.killed} killed, {kills.rescued} of them had rescued")
    assert kills.rescued
