"""watch by a QMP monitor: one that answers, falls silent, hangs up.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import (CLEAN, FAILED, FINDING, Victim, qhang, refuses,
                      wait_until)
from watching import Watch, held_back, begin, sleeps, sleeps_at_rest


class Monitor:
    """A QMP monitor of the test's own; `answers` may be taken from it."""

    def __init__(self, folder: Path, greets: bool = True) -> None:
        self.path = folder / "qmp"
        self.greets = greets
        self.answers = True
        self.asked: list[str] = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(self.path))
        self.listener.listen(1)
        self.client: Any = None
        if greets:
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            self._answer()
        except OSError:  # one of us has hung up
            pass

    def _answer(self) -> None:
        self.client, _ = self.listener.accept()
        self.client.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        for line in self.client.makefile():
            self.asked.append(json.loads(line)["execute"])
            self.client.sendall(b'{"event": "NOISE", "data": "' + b"x" * 99999
                                + b'"}\r\n')
            if self.answers:
                self.client.sendall(b'{"return": {}}\r\n')

    def close(self) -> None:
        """Hangs up."""
        if self.client:
            try:
                self.client.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has been already
                pass
        self.listener.close()


@pytest.fixture(name="monitor")
def fixture_monitor(tmp_path: Path) -> Iterator[Monitor]:
    """One that answers."""
    monitor = Monitor(tmp_path)
    yield monitor
    monitor.close()


def test_monitor_answers(monitor: Monitor, tmp_path: Path) -> None:
    """It is asked again and again; no hang."""
    with Victim("idle") as victim, \
            Watch(tmp_path, str(victim.pid), "--qmp",
                  str(monitor.path)) as watch:
        wait_until(lambda: monitor.asked.count("query-status") > 5, "asked")
        assert monitor.asked[0] == "qmp_capabilities"
        assert watch.end() == CLEAN
        assert watch.told() == ""


def test_monitor_falls_silent(monitor: Monitor, tmp_path: Path) -> None:
    """That alone is no hang, and it is stopped to find out."""
    with Victim("idle") as victim, \
            Watch(tmp_path, str(victim.pid), "--qmp",
                  str(monitor.path)) as watch:
        wait_until(lambda: monitor.asked.count("query-status") > 1, "asked")
        monitor.answers = False
        before = sleeps_at_rest(victim.pid)
        wait_until(lambda: sleeps(victim.pid) > before, "it is stopped")
        assert watch.end() == CLEAN
        assert watch.told() == ""


def test_monitor_hangs_up(monitor: Monitor, tmp_path: Path) -> None:
    """The watch goes on by the counters."""
    with held_back("wake-lost") as (pid, child), \
            Watch(tmp_path, str(pid), "--qmp", str(monitor.path)) as watch:
        wait_until(lambda: monitor.asked, "asked")
        monitor.close()
        wait_until(lambda: "hung up" in watch.told(), "it is told")
        begin(child)
        wait_until(lambda: watch.sees("sleep.wake-lost"), "it is seen")
        assert watch.end() == FINDING


def test_monitor_hangs_up_within_a_hang(monitor: Monitor,
                                        tmp_path: Path) -> None:
    """What its silence has led to is over without its answer, too."""
    monitor.answers = False
    with Victim("bh-unnotified-busy") as victim, \
            Watch(tmp_path, str(victim.pid), "--qmp",
                  str(monitor.path)) as watch:
        wait_until(lambda: watch.sees("aio.queued-unnotified"), "it is seen")
        monitor.close()
        wait_until(lambda: "hung up" in watch.told(), "it is told")
        assert qhang("kick", "--yes", str(victim.pid)).returncode == CLEAN
        wait_until(lambda: watch.samples()["qhang_hung"] == 0,
                   "it is over", 90)
        assert watch.told().count(": goes on") == 1
        assert watch.end() == FINDING


def test_monitor_in_use(tmp_path: Path) -> None:
    """A monitor that serves another is no hang: it is told as such."""
    monitor = Monitor(tmp_path, greets=False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.connect(str(monitor.path))
        served, _ = monitor.listener.accept()
        with Victim("idle") as victim, served:
            refuses(FAILED, "watch", str(victim.pid), "--qmp",
                    str(monitor.path), words=("in use by another client",))
    monitor.close()


def test_monitor_that_greets_nobody(tmp_path: Path) -> None:
    """Nobody is served: what hangs there is looked into."""
    monitor = Monitor(tmp_path, greets=False)
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid), "--qmp", str(monitor.path)
                  ) as watch:
        wait_until(lambda: watch.sees("sleep.wake-lost"), "it is seen")
        assert watch.end() == FINDING
    monitor.close()


def test_listener_is_no_qemu(monitor: Monitor) -> None:
    """Without a PID it is who listens: this test, which is no QEMU."""
    told = refuses(FAILED, "watch", "--qmp", str(monitor.path),
                   words=("give the PID",))
    assert str(os.getpid()) in told
