"""watch's metrics: read by Prometheus's own, and what stays of them.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import urllib.request
from pathlib import Path

import pytest
from conftest import FINDING, LIMIT_S, VICTIMS, Victim, wait_until
from watching import Watch, families


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


def _scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics",
                                timeout=LIMIT_S) as got:
        text: str = got.read().decode()
    return text


def test_node_exporter(tmp_path: Path) -> None:
    """What a real node_exporter hands on of the file."""
    exporter = shutil.which("prometheus-node-exporter")
    if not exporter:
        pytest.skip("no node_exporter here "
                    "(Debian package prometheus-node-exporter)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Victim("wake-lost") as victim, \
            Watch(tmp_path, str(victim.pid)) as watch:
        wait_until(lambda: watch.sees("sleep.wake-lost"), "it is seen")
        with subprocess.Popen(
                [exporter, "--collector.disable-defaults",
                 "--collector.textfile", "--collector.textfile.directory",
                 watch.metrics.parent, "--web.listen-address",
                 f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stderr
                for line in server.stderr:
                    if "address=" in line or "Listening" in line:
                        break
                scraped = _scrape(port)
            finally:
                server.kill()
    assert "node_textfile_scrape_error 0" in scraped
    hung = [line for line in scraped.splitlines()
            if line.startswith("qhang_") and "sleep.wake-lost" in line]
    assert hung and all(f'pid="{victim.pid}"' in line for line in hung)
