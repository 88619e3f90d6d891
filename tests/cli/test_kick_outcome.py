"""kick: what becomes of the process is told as it is.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
from conftest import (CLEAN, FINDING, LIMIT_S, QHANG, Victim, qhang, report,
                      task_states, under, wait_until)
from kicking import Terminal, assert_goes_on, dry, peek, writes


def test_sleeper_stays() -> None:
    """The timer fires, and whoever would wake the sleeper is held."""
    with Victim("wake-lost-held") as victim:
        began = time.monotonic()
        done = qhang("kick", "--yes", "--wait", "1", str(victim.pid))
        assert time.monotonic() - began >= 1
        assert done.returncode == FINDING, done.stderr
        assert "STILL STUCK" in done.stdout
        assert "UNSTUCK" not in done.stdout
        assert "still stuck" in done.stderr


@pytest.mark.parametrize("scenario", ["wake-lost-behind",
                                      "wake-lost-turning"])
def test_waiter_stays(scenario: str) -> None:
    """The sleeper is up, and waits for a lock: nobody has gone on yet, and if
    the waiter wakes up ever so often."""
    with Victim(scenario) as victim:
        done = qhang("kick", "--yes", "--wait", "0.2", str(victim.pid))
        assert done.returncode == FINDING, done.stderr
        assert "STILL WAITING" in done.stdout
        assert "UNSTUCK" not in done.stdout
        assert "nothing hangs" not in done.stdout
        assert "no other hang found" in done.stdout
        assert report(str(victim.pid))["findings"] == []


def test_two_hangs() -> None:
    """One after the other."""
    with Victim("two-lost") as victim:
        done = qhang("kick", "--yes", str(victim.pid))
        assert done.returncode == CLEAN, done.stderr
        assert done.stdout.count("UNSTUCK") == 2
        assert len(writes(done.stdout)) >= 2
        assert "nothing hangs any more" in done.stdout
        assert_goes_on(victim, "two-lost")


def test_waiter_goes_on_later() -> None:
    """Whoever was still waiting after its own kick, and goes on with that of
    another hang, is not told to wait at the end."""
    with Victim("lost-behind-lost") as victim:
        done = qhang("kick", "--yes", "--wait", "0.2", str(victim.pid))
        first, second = done.stdout.index("STILL WAITING"), \
            done.stdout.index("UNSTUCK")
        assert first < second
        assert "nothing hangs any more" in done.stdout
        assert "its waiter has gone on" in done.stderr
        assert done.returncode == CLEAN, done.stderr
        assert_goes_on(victim, "lost-behind-lost")


def test_two_hangs_and_one_answer() -> None:
    """Yes to the first, no to the second: that one is left as it is."""
    with Victim("two-lost") as victim:
        asking = Terminal(victim.pid)
        asking.answer_one("y\n")
        shown = writes(asking.text[asking.text.index("UNSTUCK"):]
                       .replace("\r\n", "\n"))
        assert asking.answer("n\n") == FINDING
        assert asking.text.count("UNSTUCK") == 1
        assert shown and all(peek(victim.pid, at) == old
                             for at, old, _ in shown)
        assert len(report(str(victim.pid))["findings"]) == 1


def kick_held(victim: Victim) -> subprocess.Popen[str]:
    """A kick that has written, and watches what comes of it."""
    shown = dry(victim)
    kick = subprocess.Popen(
        [*under(), str(QHANG), "kick", "--yes", "--wait", "3600",
         str(victim.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    wait_until(lambda: all(peek(victim.pid, at) != old for at, old, _ in shown)
               and not set(task_states(victim.pid).values()) & set("tT"),
               "it is rescued")
    return kick


def test_target_halts() -> None:
    """The notified writer stops the process: neither over nor not."""
    with Victim("graph-unkicked-halts") as victim:
        done = qhang("kick", "--yes", "--wait", "0.2", str(victim.pid))
        assert set(task_states(victim.pid).values()) == {"T"}
        assert done.returncode == FINDING, done.stderr
        assert "UNCLEAR" in done.stdout and "UNSTUCK" not in done.stdout
        assert "cannot be told" in done.stderr
        victim.child.send_signal(signal.SIGCONT)
        assert victim.read_line(LIMIT_S) == "returned blockdev-del\n"


def test_target_is_killed() -> None:
    """A process that dies of its rescue has not been rescued."""
    with Victim("wake-lost-held") as victim:
        kick = kick_held(victim)
        victim.child.send_signal(signal.SIGSEGV)
        out, err = kick.communicate(timeout=LIMIT_S)
        assert kick.returncode == FINDING, out + err
        assert "KILLED" in out and "by SIGSEGV" in out
        assert "killed" in err


def test_target_ends() -> None:
    """One that went to its end by itself has got what it waited for."""
    with Victim("wake-lost-held") as victim:
        kick = kick_held(victim)
        assert victim.child.stdin
        victim.child.stdin.close()
        victim.child.stdin = None  # nothing more is said to it
        out, err = kick.communicate(timeout=LIMIT_S)
        assert kick.returncode == CLEAN, out + err
        assert "ENDED" in out and "with status 0" in out
