"""The units of qhang watch under a systemd that runs, in a container.

SPDX-License-Identifier: GPL-2.0-or-later

Where systemd-nspawn is there and can start one; elsewhere it is skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from conftest import BUILD, QHANG, VICTIMS

# In a pid namespace, so that all of it ends with what runs it.
NSPAWN = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc",
          "systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
          "--private-network"]
BOOT_LIMIT_S = 180
PROGRAM = "/usr/bin/qhang-tried"
UNITS = ["qhang-watch@.service", "qhang-watch-all.service"]
BEGIN = """[Service]
Type=oneshot
ExecStart=/bin/sh /trial/script
ExecStopPost=/bin/systemctl --no-block poweroff
[Unit]
After=basic.target
"""
# A victim that calls itself a QEMU hangs when it is told to; what the units
# make of it is kept beside the script. Each wait ends with the container.
SCRIPT = """cd /trial
mkfifo order
exec 9<>order
./qemu-storage-daemon --scenario wake-lost --when-told <order >said &
pid=$!
unit=qhang-watch@$pid.service
until grep -q waiting said; do sleep 0.1; done
systemctl start qhang-watch-all.service
until systemctl -q is-active $unit; do sleep 0.1; done
until test -s /run/qhang/$pid.prom; do sleep 0.1; done
printf . >&9
until grep -q '^qhang_hung.* 1$' /run/qhang/$pid.prom; do sleep 0.1; done
cp /run/qhang/$pid.prom metrics
cp /var/lib/qhang/*.core core
journalctl --sync
journalctl -o json SYSLOG_IDENTIFIER=qhang >journal
kill -9 $pid
while systemctl -q is-active $unit; do sleep 0.1; done
systemctl show -p Result,ActiveState $unit >end
"""


@pytest.fixture(name="root")
def fixture_root(tmp_path: Path) -> Iterator[Path]:
    """This host's files, with whatever is written kept apart."""
    if not shutil.which("systemd-nspawn"):
        pytest.skip("no systemd-nspawn here to start a systemd with")
    root = tmp_path / "root"
    for name in ("root", "upper", "work"):
        (tmp_path / name).mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o",
         f"lowerdir=/,upperdir={tmp_path}/upper,workdir={tmp_path}/work",
         root], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no overlay of this host's files: {mounted.stderr}")
    try:
        (root / "etc/machine-id").unlink(missing_ok=True)
        able = subprocess.run([*NSPAWN, "-D", root, "true"], text=True,
                              capture_output=True, check=False,
                              stdin=subprocess.DEVNULL)
        if able.returncode:
            pytest.skip(f"systemd-nspawn starts nothing here: {able.stderr}")
        yield root
    finally:
        subprocess.run(["umount", root], check=True)


def install(root: Path) -> Path:
    """The units, this program and the trial; its folder. The program where the
    units' sandbox does not hide it, as it does a build below /tmp."""
    system = root / "etc/systemd/system"
    shutil.copy(QHANG, root / PROGRAM.lstrip("/"))
    for unit in UNITS:
        text = (BUILD / "docs" / unit).read_text()
        (system / unit).write_text(re.sub(r"/\S+/bin/qhang\b", PROGRAM, text))
    (system / "trial.service").write_text(BEGIN)
    trial = root / "trial"
    trial.mkdir()
    (trial / "script").write_text(SCRIPT)
    shutil.copy(VICTIMS / "victim", trial / "qemu-storage-daemon")
    return trial


def test_units_watch(root: Path) -> None:
    """One is started for a QEMU, keeps its hang and ends with it."""
    trial = install(root)
    with (trial / "console").open("wb") as console:
        subprocess.run(
            [*NSPAWN, "-D", root, "--boot", "systemd.unit=trial.service"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console,
            timeout=BOOT_LIMIT_S, check=True)
    metrics = (trial / "metrics").read_text()
    assert re.search(r'^qhang_hangs_total.*rule="sleep.wake-lost".* 1$',
                     metrics, re.MULTILINE), metrics
    entry, = [json.loads(line) for line in
              (trial / "journal").read_text().splitlines()]
    assert entry["QHANG_RULE"] == "sleep.wake-lost"
    assert entry["QHANG_CAPTURE"].startswith("/var/lib/qhang/")
    # In the sandbox, too, all is seen that there is.
    assert "(proof)" in entry["MESSAGE"]
    done = subprocess.run([QHANG, "diagnose", "--core", trial / "core",
                           "--exe", VICTIMS / "victim", "--json"],
                          capture_output=True, text=True, check=False)
    assert [finding["rule"] for finding in json.loads(done.stdout)[
        "findings"]] == ["sleep.wake-lost"]
    assert sorted((trial / "end").read_text().split()) == [
        "ActiveState=inactive", "Result=success"]
