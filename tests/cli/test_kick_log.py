"""kick: what it did is on record.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path

from conftest import CLEAN, Victim, report
from journaling import Journal
from kicking import assert_goes_on, dry


def kick_logged(folder: Path, *args: str) -> list[dict[str, str]]:
    """What a kick that goes well has told the journal, before and after."""
    with Journal(folder) as journal:
        done = journal.run("kick", "--yes", *args)
        assert done.returncode == CLEAN, done.stdout + done.stderr
        assert done.stderr == ""
        return [journal.entry() for _ in range(2)]


def test_journal(tmp_path: Path) -> None:
    """Before and after are in the journal, with fields of their own."""
    with Victim("erased") as victim:
        shown = dry(victim)
        entries = kick_logged(tmp_path, str(victim.pid))
        for entry in entries:
            assert entry["SYSLOG_IDENTIFIER"] == "qhang"
            assert entry["QHANG_PID"] == str(victim.pid)
            assert entry["QHANG_RULE"] == "sleep.erased"
        assert entries[0]["QHANG_WRITES"] == " ".join(
            f"{at:#x}={old:#x}->{new:#x}" for at, old, new in shown)
        assert entries[1]["QHANG_OUTCOME"] == "unstuck"
        assert_goes_on(victim, "erased")


def test_journal_of_notify_only(tmp_path: Path) -> None:
    """So is whom it has notified, without any hang to name."""
    with Victim("graph-unkicked") as victim:
        fds = [context["event_fd"]
               for context in report(str(victim.pid))["contexts"]]
        before, after = kick_logged(tmp_path, "--notify-only",
                                    str(victim.pid))
        for entry in (before, after):
            assert entry["QHANG_PID"] == str(victim.pid)
            assert "QHANG_RULE" not in entry
        assert sorted(map(int, before["QHANG_EVENTFDS"].split())) == \
            sorted(fds)
        assert after["QHANG_OUTCOME"] == "notified"
        assert_goes_on(victim, "graph-unkicked")
