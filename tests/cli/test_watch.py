"""watch: what hangs is kept and told, once; what works is left in peace.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import (CLEAN, FAILED, FINDING, LIMIT_S, QHANG, USAGE, VICTIMS,
                      Victim, refuses, report, task_states, traced_by, under,
                      wait_until)
from test_diagnose import FAULTS

# Short, so that the tests are: what counts is which comes first.
AFTER_S, INTERVAL_S = 0.5, 0.05
# The watch of a healthy victim lasts so many times --after.
PATIENCE = 6
OTHERS = ["owner-gone", "bh-unnotified", "timer-unserved",
          "graph-unkicked", "kernel-stuck"]
HEALTHY = ["idle", "timer-waiting", "busy", "wake-lost-twin", "drain-waiting",
           "mutex-order", "mid-notify", "timer-served", "owner-asleep",
           "kernel-alone", "waits"]


class Watch:
    """A watch that goes on; `metrics` is its file."""

    def __init__(self, folder: Path, *args: str, **kwargs: Any) -> None:
        self.metrics = folder / "qhang.prom"
        self.metrics.unlink(missing_ok=True)
        argv = [*under(), str(QHANG), "watch", "--after", str(AFTER_S),
                "--interval", str(INTERVAL_S), "--metrics",
                str(self.metrics), *args]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, **kwargs)
        wait_until(lambda: self.metrics.exists() or self.child.poll()
                   is not None, "the watch begins")

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        print(self.told())

    def told(self) -> str:
        """What it has said."""
        return self.log.read_text()

    def end(self) -> int:
        """Its exit status after a SIGTERM."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(LIMIT_S)

    def samples(self) -> dict[str, float]:
        """Values of the metrics, by name; a rule stands behind the name."""
        found = {}
        for family in families(self.metrics.read_text()):
            for sample in family.samples:
                rule = sample.labels.get("rule")
                found[sample.name + (f" {rule}" if rule else "")] = \
                    sample.value
        return found

    def sees(self, rule: str) -> bool:
        """Whether a hang of that rule is told."""
        return self.samples().get(f"qhang_hangs_total {rule}", 0) > 0


def families(text: str) -> list[Any]:
    """The metrics, as Prometheus's own parser reads them."""
    parser = pytest.importorskip(
        "prometheus_client.parser",
        reason="no python3-prometheus-client here to read the metrics with")
    return list(parser.text_string_to_metric_families(text))


@contextmanager
def held_back(scenario: str, before: tuple[str, ...] = ()
              ) -> Iterator[tuple[int, subprocess.Popen]]:
    """A victim that is well until a byte comes on its stdin: pid and child."""
    with subprocess.Popen([*before, str(VICTIMS / "victim"), "--scenario",
                           scenario, "--when-told"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as child:
        assert child.stdout
        try:
            ready, _, _ = select.select([child.stdout], [], [], 60)
            words = child.stdout.readline().split() if ready else []
            assert words[:1] == [b"waiting"], words
            yield int(words[1]), child
        finally:
            child.kill()


def begin(child: subprocess.Popen) -> None:
    """Lets the hang begin, and waits until it is there."""
    assert child.stdin and child.stdout
    child.stdin.write(b".")
    child.stdin.flush()
    ready, _, _ = select.select([child.stdout], [], [], 60)
    assert ready and child.stdout.readline().startswith(b"ready ")


def sleeps(pid: int) -> int:
    """How often the threads have left the CPU: a stop wakes all of them."""
    told = [(task / "status").read_text()
            for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(count) for text in told
               for count in re.findall(r"ctxt_switches:\t(\d+)", text))


def sleeps_at_rest(pid: int) -> int:
    """The same once all are asleep: the last to print is still on its way."""
    seen = [sleeps(pid)]

    def rests() -> bool:
        time.sleep(0.05)
        seen.append(sleeps(pid))
        return (seen[-1] == seen[-2] and
                set(task_states(pid).values()) == {"S"})

    wait_until(rests, "all are asleep")
    return seen[-1]


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


def test_metrics(tmp_path: Path) -> None:
    """Each has its help and type, all may read them, nothing else is left;
    names are escaped."""
    program = tmp_path / 'a"b\\c\nd\x80'
    shutil.copy(VICTIMS / "victim", program)
    with Victim("wake-lost", executable=program) as victim, \
            Watch(tmp_path, str(victim.pid)) as watch:
        wait_until(lambda: watch.sees("sleep.wake-lost"), "it is seen")
        text = watch.metrics.read_text()
        for family in families(text):
            assert family.name.startswith("qhang_")
            assert family.documentation and family.type in ("gauge",
                                                            "counter")
            for sample in family.samples:
                assert sample.labels["pid"] == str(victim.pid)
                assert sample.labels["comm"] == 'a"b\\c\nd\ufffd'
        assert {"qhang_up", "qhang_main_loop_stalled_seconds", "qhang_hung",
                "qhang_hangs", "qhang_diagnoses", "qhang_diagnoses_failed",
                "qhang_last_diagnosis_timestamp_seconds", "qhang_captures",
                "qhang_cpu_seconds"} == {f.name for f in families(text)}
        assert stat.S_IMODE(watch.metrics.stat().st_mode) == 0o644
        stalled = watch.samples()["qhang_main_loop_stalled_seconds"]
        wait_until(lambda: watch.samples()["qhang_main_loop_stalled_seconds"]
                   > stalled, "it goes up")
        assert 0 < watch.samples()["qhang_cpu_seconds_total"] < 60
        assert watch.end() == FINDING
    assert [path.name for path in tmp_path.glob("qhang.prom*")] \
        == ["qhang.prom"]


def test_promtool(tmp_path: Path) -> None:
    """Prometheus's linter has nothing to say."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here (Debian package prometheus, 96 MB)")
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid)) as watch:
        wait_until(lambda: watch.sees("sleep.wake-lost"), "it is seen")
        with watch.metrics.open("rb") as text:
            done = subprocess.run([promtool, "check", "metrics"], stdin=text,
                                  capture_output=True, text=True, check=False,
                                  timeout=LIMIT_S)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


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
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, \
            Victim("wake-lost") as victim:
        listener.bind(str(tmp_path / "socket"))
        listener.settimeout(30)
        script = (f"mount -t tmpfs none /run && mkdir -p /run/systemd/journal "
                  f"&& touch /run/systemd/journal/socket "
                  f"&& mount --bind {tmp_path}/socket "
                  f"/run/systemd/journal/socket "
                  f"&& exec {QHANG} watch --once --after {AFTER_S} "
                  f"--interval {INTERVAL_S} --capture {tmp_path}/kept "
                  f"{victim.pid}")
        done = subprocess.run(["unshare", "-m", "--propagation", "private",
                               "sh", "-c", script], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=LIMIT_S)
        assert done.returncode == FINDING, done.stdout + done.stderr
        assert done.stdout + done.stderr == ""
        entry = dict(line.split("=", 1) for line in
                     listener.recv(65536).decode().splitlines())
        assert entry["SYSLOG_IDENTIFIER"] == "qhang"
        assert entry["PRIORITY"] == "4"
        assert entry["QHANG_PID"] == str(victim.pid)
        assert entry["QHANG_RULE"] == "sleep.wake-lost"
        assert entry["QHANG_CAPTURE"] == f"{tmp_path}/kept"
        assert "hangs" in entry["MESSAGE"]
