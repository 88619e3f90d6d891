"""The systemd units of qhang watch, and the way from systemd-coredump.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import (BUILD, CHECKOUT, CLEAN, FAILED, FINDING, LIMIT_S, QHANG,
                      Victim, under)
from kicking import without

UNITS = ["qhang-watch@.service", "qhang-watch-qmp@.service",
         "qhang-watch-all.service"]
SANDBOXED = UNITS[:2]
SYS_OPENAT2 = 437
# Of 100: "OK" ends at 50.
MOST_EXPOSED = 35
SCRIPT = CHECKOUT / "docs/systemd/qhang-coredump"
# As coredumpctl(1): dump, --output, --quiet.
COREDUMPCTL = """#!/bin/sh
[ "$1" = --quiet ] && [ "$3" = dump ] && [ "$4" = {match} ] || exit 1
cp {core} "${{2#--output=}}"
"""


@pytest.fixture(name="units")
def fixture_units(tmp_path: Path) -> Path:
    """The units as built, with this program in them, as instances."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here to read the units with")
    for unit in UNITS:
        text = (BUILD / "docs" / unit).read_text()
        assert "@" not in re.sub(r"SystemCallFilter=.*|qhang-watch@", "",
                                 text)
        text, count = re.subn(r"/\S+/bin/qhang\b", str(QHANG), text)
        assert count == 1
        (tmp_path / unit.replace("@", "@1")).write_text(text)
    timer = "qhang-watch-all.timer"
    shutil.copy(CHECKOUT / "docs/systemd" / timer, tmp_path)
    return tmp_path


def analyze(*args: str | Path) -> subprocess.CompletedProcess:
    """Runs systemd-analyze to its end."""
    return subprocess.run(["systemd-analyze", *args], capture_output=True,
                          text=True, check=False, timeout=LIMIT_S)


def test_units_are_sound(units: Path) -> None:
    """systemd has no complaint about any of them."""
    done = analyze("verify", "--man=no", *units.iterdir())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_wrong_unit_is_complained_about(units: Path) -> None:
    """So that silence says something."""
    unit = units / "qhang-watch@1.service"
    unit.write_text(unit.read_text() + "NoSuchSetting=1\n")
    assert "NoSuchSetting" in analyze("verify", "--man=no", unit).stderr


@pytest.mark.parametrize("unit", SANDBOXED)
def test_units_are_hardened(unit: str, units: Path) -> None:
    """By systemd's own measure."""
    done = analyze("security", "--offline=true", "--no-pager",
                   f"--threshold={MOST_EXPOSED}",
                   units / unit.replace("@", "@1"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("unit", SANDBOXED)
def test_all_is_seen_in_the_sandbox(unit: str) -> None:
    """With its capabilities alone, and without openat2(), which RestrictSUIDSGID=
    takes away."""
    text = (BUILD / "docs" / unit).read_text()
    assert "RestrictSUIDSGID=yes" in text
    allowed = re.search(r"^CapabilityBoundingSet=(.+)$", text, re.MULTILINE)[1]
    names = ",".join("+" + name.removeprefix("CAP_").lower()
                     for name in allowed.split())
    with Victim("wake-lost") as victim:
        done = subprocess.run(
            ["setpriv", f"--bounding-set=-all,{names}",
             *without(f"{SYS_OPENAT2}=ENOSYS"), *under(), str(QHANG),
             "diagnose", "--json", str(victim.pid)],
            capture_output=True, text=True, check=False, timeout=LIMIT_S)
        told = json.loads(done.stdout)
        assert told["incomplete"] == []
        assert [(finding["rule"], finding["certainty"])
                for finding in told["findings"]] == [("sleep.wake-lost",
                                                      "proof")]


def test_all_starts_one_each(units: Path, tmp_path: Path) -> None:
    """The script of qhang-watch-all.service, with another systemctl."""
    text = (units / "qhang-watch-all.service").read_text()
    script = text.split("ExecStart=/bin/sh -c '")[1].split("'\n")[0]
    tools = tmp_path / "tools"
    tools.mkdir()
    systemctl = tools / "systemctl"
    systemctl.write_text('#!/bin/sh\necho "$@"\n')
    systemctl.chmod(0o755)
    program = tmp_path / "qemu-storage-daemon"
    shutil.copy(BUILD / "tests/victims/victim", program)
    with Victim("idle", executable=program) as victim:
        done = subprocess.run(
            ["/bin/sh", "-c", script.replace("$$", "$")], text=True,
            capture_output=True, check=True, timeout=LIMIT_S,
            env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"})
    assert done.stderr == ""
    assert f"start --no-block qhang-watch@{victim.pid}.service" \
        in done.stdout.splitlines()
    assert all(re.fullmatch(r"start --no-block qhang-watch@\d+\.service", line)
               for line in done.stdout.splitlines())


def coredump(tmp_path: Path, core: Path, match: str
             ) -> subprocess.CompletedProcess:
    """Runs the script where coredumpctl has that core of process 4711."""
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "coredumpctl"
    program.write_text(COREDUMPCTL.format(match="4711", core=core))
    program.chmod(0o755)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        ["/bin/sh", SCRIPT, match], capture_output=True, text=True,
        check=False, timeout=LIMIT_S,
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}",
             "QHANG": str(QHANG), "TMPDIR": str(scratch)})
    assert not list(scratch.iterdir())
    print(done.stdout, done.stderr)
    return done


def test_coredump(tmp_path: Path) -> None:
    """What coredumpctl hands out is diagnosed, and nothing is left."""
    with Victim("wake-lost") as victim:
        core = victim.gcore(tmp_path)
    done = coredump(tmp_path, core, "4711")
    assert done.returncode == FINDING
    assert "sleep.wake-lost" in done.stdout


def test_kernel_coredump(tmp_path: Path) -> None:
    """The same of a core that the kernel has written."""
    with Victim("erased", cwd=tmp_path) as victim:
        core = victim.kernel_core(tmp_path)
    done = coredump(tmp_path, core, "4711")
    assert done.returncode == FINDING
    assert "sleep.erased" in done.stdout


def test_no_coredump(tmp_path: Path) -> None:
    """Another match: there is none."""
    done = coredump(tmp_path, tmp_path / "none", "1147")
    assert done.returncode == FAILED
    assert done.stdout == ""
    assert "coredumpctl list" in done.stderr


def test_coredump_help() -> None:
    """It tells how it is called."""
    done = subprocess.run(["/bin/sh", SCRIPT, "--help"], capture_output=True,
                          text=True, check=False, timeout=LIMIT_S)
    assert (done.returncode, done.stderr) == (CLEAN, "")
    assert done.stdout.startswith("usage: qhang-coredump")
