"""watch: what hangs is kept and told, once; what works is left in peace.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import re
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import (CLEAN, FAILED, FINDING, LIMIT_S, QHANG, USAGE, Victim,
                      qhang, refuses, report, traced_by, wait_until)
from journaling import Journal
from test_diagnose import FAULTS
from watching import (AFTER_S, INTERVAL_S, PATIENCE, Watch, held_back, begin,
                      sleeps, sleeps_at_rest)

OTHERS = ["owner-gone", "bh-unnotified", "timer-unserved",
          "graph-unkicked", "kernel-stuck"]
HEALTHY = ["idle", "timer-waiting", "busy", "wake-lost-twin", "drain-waiting",
           "mutex-order", "mid-notify", "timer-served", "owner-asleep",
           "kernel-alone", "waits"]


@pytest.mark.parametrize("scenario", ["wake-lost", "erased"])
def test_hang_that_begins(scenario: str, tmp_path: Path) -> None:
    """It is captured and told before `timeout` kills the process."""
    rule = FAULTS[scenario][0]
    kept, told = tmp_path / "kept.core", tmp_path / "told"
    command = (f'printf "%s\\n" "$QHANG_PID" "$QHANG_RULE" "$QHANG_CAPTURE" '
               f'"$QHANG_SUMMARY" > {told}.new; test -s {kept} && '
               f'kill -0 "$QHANG_PID" && mv {told}.new {told}')
    with held_back(scenario, ("timeout", "--signal=KILL", "12")) as (
            pid, child), \
            Watch(tmp_path, str(pid), "--capture", str(kept), "--exec",
                  command) as watch:
        time.sleep(AFTER_S + 2 * INTERVAL_S)  # it is well for that long
        assert watch.samples()["qhang_up"] == 1
        assert watch.samples()["qhang_hung"] == 0
        begin(child)
        assert child.wait(LIMIT_S) in (124, 137, -9)
        assert watch.child.wait(LIMIT_S) == FINDING
        lines = told.read_text().splitlines()
        assert lines[:3] == [str(pid), rule, str(kept)]
        assert lines[3]
        assert watch.samples()["qhang_up"] == 0
        assert watch.samples()[f"qhang_hangs_total {rule}"] == 1
        assert watch.samples()["qhang_captures_total"] == 1
        assert watch.told().count(" hangs, ") == 1
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    found = report("--core", str(kept))["findings"]
    assert [finding["rule"] for finding in found] == [rule]


@pytest.mark.parametrize("scenario", OTHERS)
def test_other_hangs(scenario: str, tmp_path: Path) -> None:
    """Wherever the main loop is, in a lock, in its idle poll, in state D."""
    rule = FAULTS[scenario][0]
    with Victim(scenario) as victim:
        with Watch(tmp_path, str(victim.pid), "--capture",
                   str(tmp_path)) as watch:
            wait_until(lambda: watch.sees(rule), "it is seen")
            assert watch.samples()["qhang_hung"] == 1
            assert watch.end() == FINDING
            assert watch.told().count(" hangs, ") == 1
        assert traced_by(victim.pid) == {0}
    core, = tmp_path.glob(f"qhang-{victim.pid}-*.core")
    # What a thread in state D does, no core can tell.
    assert rule == "kernel.stuck" or rule in [finding["rule"]
                    for finding in report("--core", str(core))["findings"]]


def test_beside_a_busy_main_loop(tmp_path: Path) -> None:
    """One look after another tells it once, if it lasts, and when it is over."""
    with Victim("bh-unnotified-busy") as victim:
        began = time.monotonic()
        with Watch(tmp_path, str(victim.pid)) as watch:
            wait_until(lambda: watch.sees("aio.queued-unnotified"), "seen")
            assert time.monotonic() - began >= 2 * AFTER_S
            looks = watch.samples()["qhang_diagnoses_total"]
            wait_until(lambda: watch.samples()["qhang_diagnoses_total"]
                       > looks + 1, "it is looked at again", 150)
            assert watch.samples()["qhang_hung"] == 1
            assert qhang("kick", "--yes", str(victim.pid)).returncode == CLEAN
            wait_until(lambda: watch.samples()["qhang_hung"] == 0,
                       "it is over", 90)
            assert watch.told().count(" hangs, ") == 1
            assert watch.told().count(": goes on") == 1
            assert watch.end() == FINDING


@pytest.mark.parametrize("scenario", HEALTHY)
def test_healthy(scenario: str, tmp_path: Path) -> None:
    """Nothing is found, kept or run."""
    with Victim(scenario) as victim:
        with Watch(tmp_path, str(victim.pid), "--capture", str(tmp_path),
                   "--exec", f"touch {tmp_path}/run") as watch:
            time.sleep(PATIENCE * AFTER_S)
            assert watch.end() == CLEAN
            assert watch.told() == ""
            assert watch.samples()["qhang_hung"] == 0
        assert traced_by(victim.pid) == {0}
    assert {path.name for path in tmp_path.iterdir()} == {"qhang.prom", "log"}


def test_idle_is_not_stopped(tmp_path: Path) -> None:
    """No thread of it is woken. It was looked at, though."""
    with Victim("idle") as victim:
        before = sleeps_at_rest(victim.pid)
        with Watch(tmp_path, str(victim.pid)) as watch:
            time.sleep(PATIENCE * AFTER_S)
            assert sleeps(victim.pid) == before
            assert watch.end() == CLEAN
            assert watch.samples()["qhang_diagnoses_total"] >= 1
            assert watch.samples()["qhang_main_loop_stalled_seconds"] == 0


def test_kicked_by_the_command(tmp_path: Path) -> None:
    """--exec may end the hang: that is told, and the watch goes on."""
    with held_back("erased") as (pid, child), \
            Watch(tmp_path, str(pid), "--exec",
                  f"{QHANG} kick --yes $QHANG_PID") as watch:
        begin(child)
        wait_until(lambda: "goes on" in watch.told(), "it goes on", 60)
        wait_until(lambda: watch.samples()["qhang_hung"] == 0, "all is well")
        assert watch.samples()["qhang_hangs_total sleep.erased"] == 1
        assert watch.end() == FINDING


def test_once(tmp_path: Path) -> None:
    """It ends by itself, after the command has."""
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid), "--once", "--exec",
                  f"sleep 0.3; touch {tmp_path}/run") as watch:
        assert watch.child.wait(LIMIT_S) == FINDING
        assert (tmp_path / "run").exists()
        assert victim.child.poll() is None


@pytest.mark.parametrize("command, words", [
    ("exit 7", "exit status 7"), ("kill -TERM $$", "signal 15"),
    ("/nonexistent/program", "exit status 127")])
def test_command_fails(command: str, words: str, tmp_path: Path) -> None:
    """Its failure is told."""
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid), "--exec", command) as watch:
        wait_until(lambda: f"--exec: {words}" in " ".join(
            watch.told().replace("ended by", "").split()), words)
        assert watch.end() == FINDING


def test_command_inherits_nothing(tmp_path: Path) -> None:
    """No descriptor but the usual three, no signal that is blocked."""
    listing = tmp_path / "fds"
    command = (f"ls -l /proc/self/fd > {listing}.new; grep -E 'SigBlk|SigIgn' "
               f"/proc/self/status >> {listing}.new; mv {listing}.new "
               f"{listing}")
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid), "--exec", command) as watch:
        wait_until(listing.exists, "it has run")
        text = listing.read_text()
        assert len(re.findall(r" \d+ -> ", text)) == 4  # and ls's own
        assert re.search(r" 0 -> /dev/null", text)
        assert re.search(r"SigBlk:\s+0+$", text, re.MULTILINE)
        assert int(re.findall(r"SigIgn:\s+(\w+)", text)[0], 16) \
            & 1 << (signal.SIGPIPE - 1) == 0
        assert watch.end() == FINDING


def test_capture_is_there_already(tmp_path: Path) -> None:
    """No file is overwritten; the rest is done all the same."""
    kept = tmp_path / "kept"
    kept.write_text("mine")
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid), "--capture", str(kept), "--exec",
                  f'echo "<$QHANG_CAPTURE>" > {tmp_path}/run') as watch:
        wait_until(lambda: (tmp_path / "run").exists() and
                   (tmp_path / "run").read_text(), "it has run")
        assert (tmp_path / "run").read_text() == "<>\n"
        assert "File exists" in watch.told()
        assert watch.end() == FINDING
    assert kept.read_text() == "mine"


def test_process_ends(tmp_path: Path) -> None:
    """So does the watch."""
    with Victim("idle") as victim, Watch(tmp_path, str(victim.pid)) as watch:
        victim.child.kill()
        assert watch.child.wait(LIMIT_S) == CLEAN
        assert watch.told() == ""
        assert watch.samples()["qhang_up"] == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT,
                                    signal.SIGHUP])
def test_told_to_end(signum: signal.Signals, tmp_path: Path) -> None:
    """In order; unless it is to ignore that signal, as nohup has it."""
    def with_signal(how: Any) -> Any:
        return lambda: signal.signal(signum, how)

    with Victim("idle") as victim:
        with Watch(tmp_path, str(victim.pid),
                   preexec_fn=with_signal(signal.SIG_DFL)) as watch:
            watch.child.send_signal(signum)
            assert watch.child.wait(LIMIT_S) == CLEAN
        with Watch(tmp_path, str(victim.pid),
                   preexec_fn=with_signal(signal.SIG_IGN)) as watch:
            watch.child.send_signal(signum)
            before = watch.metrics.stat().st_ino
            victim.child.kill()
            assert watch.child.wait(LIMIT_S) == CLEAN
            assert watch.metrics.stat().st_ino != before
            assert watch.samples()["qhang_up"] == 0


@pytest.mark.parametrize("args, words", [
    (("{pid}", "--qmp", "/nonexistent"), ("connect to the monitor",)),
    (("{pid}", "--qmp", "/" + "x" * 200), ("too long",)),
    (("{pid}", "--metrics", "/nonexistent/m.prom"), ("/nonexistent",)),
    (("{dead}",), ("no process",))], ids=lambda value: value[-1][:20])
def test_cannot(args: tuple[str, ...], words: tuple[str, ...],
                sleeper: subprocess.Popen) -> None:
    """What keeps it from beginning is told."""
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    with Victim("idle") as victim:
        refuses(FAILED, "watch", *(
            arg.format(pid=victim.pid, dead=dead.pid) for arg in args),
            words=words)
    refuses(FAILED, "watch", str(sleeper.pid), words=("no QEMU",))


@pytest.mark.parametrize("args, word", [
    ((), "PID"), (("x",), "PID"), (("1", "2"), "one PID"),
    (("1", "--after", "0"), "--after"), (("1", "--after", "x"), "seconds"),
    (("1", "--interval", "nan"), "--interval"),
    (("1", "--interval", "1e9"), "--interval"),
    (("1", "--exec", ""), "--exec"), (("1", "--metrics", ""), "--metrics"),
    (("1", "--capture", ""), "--capture"), (("--qmp", ""), "--qmp"),
    (("1", "--kick"), "--kick")], ids=repr)
def test_wrong_usage(args: tuple[str, ...], word: str) -> None:
    """It says what is wrong."""
    refuses(USAGE, "watch", *args, words=(word,))


def test_journal(tmp_path: Path) -> None:
    """A hang is in the journal, with fields of its own."""
    with Journal(tmp_path) as journal, Victim("wake-lost") as victim:
        done = journal.run("watch", "--once", "--after", str(AFTER_S),
                           "--interval", str(INTERVAL_S), "--capture",
                           f"{tmp_path}/kept", str(victim.pid))
        assert done.returncode == FINDING, done.stdout + done.stderr
        assert done.stdout + done.stderr == ""
        entry = journal.entry()
        assert entry["SYSLOG_IDENTIFIER"] == "qhang"
        assert entry["PRIORITY"] == "4"
        assert entry["QHANG_PID"] == str(victim.pid)
        assert entry["QHANG_RULE"] == "sleep.wake-lost"
        assert entry["QHANG_CAPTURE"] == f"{tmp_path}/kept"
        assert "hangs" in entry["MESSAGE"]
