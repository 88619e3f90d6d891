"""kick: it asks before it does anything.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import pytest
from conftest import CLEAN, FAILED, FINDING, USAGE, Victim, qhang, refuses
from kicking import (Terminal, assert_goes_on, assert_untouched, memory, poke,
                     writes)


def test_no_terminal() -> None:
    """Without a terminal and without --yes nothing is begun."""
    with Victim("wake-lost") as victim:
        before = memory(victim.pid)
        refuses(USAGE, "kick", str(victim.pid), words=("terminal", "--yes"))
        assert_untouched(victim.pid, before)


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
def test_no_means_no(answer: str) -> None:
    """No, nothing, the end of the input: nothing is written."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        before = memory(victim.pid)
        assert asking.answer(answer) == FINDING
        assert_untouched(victim.pid, before)


def test_yes_means_yes() -> None:
    """What was shown is done."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        assert asking.answer("y\n") == CLEAN, asking.text
        assert "UNSTUCK" in asking.text
        assert_goes_on(victim, "wake-lost")


def test_gone_while_it_asked() -> None:
    """Another has kicked it meanwhile: there is nothing left to do."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        assert qhang("kick", "--yes", str(victim.pid)).returncode == CLEAN
        assert_goes_on(victim, "wake-lost")
        before = memory(victim.pid)
        assert asking.answer("y\n") == FAILED, asking.text
        assert "REFUSED" in asking.text
        assert_untouched(victim.pid, before)


def test_changed_while_it_asked() -> None:
    """The timer has been set to another time since."""
    with Victim("wake-lost") as victim:
        asking = Terminal(victim.pid)
        (at, old, _), = writes(asking.text.replace("\r\n", "\n"))
        poke(victim.pid, at, old + 1)
        before = memory(victim.pid)
        assert asking.answer("y\n") == FAILED, asking.text
        assert "has changed" in asking.text
        assert_untouched(victim.pid, before)


def test_notify_only_asks() -> None:
    """Nothing is done to a process that nobody has agreed to."""
    with Victim("graph-unkicked") as victim:
        before = memory(victim.pid)
        refuses(USAGE, "kick", "--notify-only", str(victim.pid),
                words=("terminal", "--yes"))
        asking = Terminal(victim.pid, "--notify-only")
        assert asking.answer("n\n") == FINDING, asking.text
        assert_untouched(victim.pid, before)
        asking = Terminal(victim.pid, "--notify-only")
        assert asking.answer("y\n") == CLEAN, asking.text
        assert "NOTIFIED" in asking.text
        assert_goes_on(victim, "graph-unkicked")
