"""qhang verify --race and --stress on the lab's QEMUs.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Callable

import pytest

from labqemu import DAEMON
from labqhang import CHECKOUT, verify

SAFE, VULNERABLE, UNDETERMINED = 0, 1, 2
WAKE, ERASED, GRAPH = ("race.wake-before-arm", "race.erased",
                       "race.graph-unlock")
DRIVER = CHECKOUT / "gdbscripts/qhang-race.py"
LIMIT_S = 300.0
# Answers "no finding" first, then another rule than any that is forced.
ANOTHER_RULE = """#!/bin/sh
if [ -e "$0.asked" ]; then
    echo '{"findings": [{"rule": "lock.cycle"}]}'
    exit 1
fi
touch "$0.asked"
echo '{"findings": []}'
"""


def checks_of(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and the checks by their names."""
    status, _, report = verify(path, *options, timeout_s=LIMIT_S)
    return status, {check["name"]: check for check in report["checks"]}


@pytest.mark.parametrize("build, hanging, status", [
    ("graphfix", {WAKE, ERASED}, VULNERABLE),
    ("fixed", set(), SAFE),
])
def test_race(lab: Path, qhang: Path, build: str, hanging: set[str],
              status: int) -> None:
    """Each race hangs as what was forced, or goes on."""
    got, checks = checks_of(lab / "bin" / build / DAEMON, "--race=1")
    for name in (WAKE, ERASED, GRAPH):
        check = checks[name]
        hangs = name in hanging
        assert check["verdict"] == ("vulnerable" if hangs else "safe"), check
        trial = check["trial"]
        assert (trial["rounds"], trial["hung"], trial["agreed"]) == (
            1, hangs, hangs), check
        assert check["where"]
    assert got == status


def test_race_of_both_faults(lab: Path, qhang: Path) -> None:
    """The shipped build hangs in its graph lock; where that comes before
    another race could be forced, the reason says so."""
    got, checks = checks_of(lab / "bin/stock" / DAEMON, "--race=1")
    assert got == VULNERABLE
    assert checks[GRAPH]["verdict"] == "vulnerable", checks[GRAPH]
    assert checks[GRAPH]["trial"]["agreed"] == 1
    for name in (WAKE, ERASED):
        assert checks[name]["verdict"] == "vulnerable" or (
            "diagnosed as graph.writer-unkicked" in checks[name]["why"]
        ), checks[name]


def test_stress(lab: Path, qhang: Path) -> None:
    """Three clean rounds are told, and are not enough to be called safe."""
    got, checks = checks_of(lab / "bin/fixed" / DAEMON, "--stress", "3")
    check = checks["stress"]
    assert got == UNDETERMINED and check["verdict"] == "undetermined"
    assert (check["trial"]["rounds"], check["trial"]["hung"]) == (3, 0)
    assert check["trial"]["at_most"] == pytest.approx(1 - 0.05 ** (1 / 3),
                                                      abs=1e-5)
    assert "59 rounds" in check["why"]


def test_other_hang(lab: Path, tmp_path: Path) -> None:
    """A hang that is diagnosed as something else is no agreement."""
    another = tmp_path / "qhang"
    another.write_text(ANOTHER_RULE)
    another.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        ["python3", "-EsB", DRIVER, "--program", lab / "bin/graphfix" / DAEMON,
         "--qhang", another, "--work", work, "--check", f"{ERASED}=1"],
        check=True, stdout=subprocess.PIPE, timeout=LIMIT_S)
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["hung"], result["agreed"]) == (1, 0)
    assert result["verdict"] == "undetermined"
    assert "not as was forced: lock.cycle once" in result["why"]
    assert not work.exists()


def without_debug(lab: Path, folder: Path) -> None:
    """The fixed daemon, stripped, and its qemu-img."""
    subprocess.run(["strip", "-o", folder / DAEMON, lab / "bin/fixed" / DAEMON],
                   check=True)
    (folder / "qemu-img").symlink_to(lab / "bin/fixed/qemu-img")


def without_image(lab: Path, folder: Path) -> None:
    """The fixed daemon alone."""
    shutil.copy(lab / "bin/fixed" / DAEMON, folder)


def that_is_a_tool(lab: Path, folder: Path) -> None:
    """qemu-img under the daemon's name."""
    shutil.copy(lab / "bin/fixed/qemu-img", folder / DAEMON)


def that_does_not_run(lab: Path, folder: Path) -> None:
    """The fixed daemon, damaged after its code and data."""
    data = bytearray((lab / "bin/fixed" / DAEMON).read_bytes())
    data[data.index(b"/lib64/ld-linux")] = ord("!")
    (folder / DAEMON).write_bytes(data)
    (folder / DAEMON).chmod(0o755)


@pytest.mark.parametrize("make, why", [
    (without_debug, "no debug information"), (without_image, "no qemu-img"),
    (that_is_a_tool, "neither a storage daemon nor"),
    (that_does_not_run, "cannot be run")])
def test_unfit(lab: Path, qhang: Path, tmp_path: Path,
               monkeypatch: pytest.MonkeyPatch,
               make: Callable[[Path, Path], None], why: str) -> None:
    """What cannot be raced is undetermined, and the reason says why."""
    if why == "no qemu-img":
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "python3").symlink_to("/usr/bin/python3")
        monkeypatch.setenv("PATH", str(tools))
    make(lab, tmp_path)
    got, checks = checks_of(tmp_path / DAEMON, "--race")
    assert got == UNDETERMINED
    for name in (WAKE, ERASED, GRAPH):
        assert checks[name]["verdict"] == "undetermined"
        assert why in checks[name]["why"], checks[name]


@pytest.mark.parametrize("missing, why", [
    ("gdb", "gdb is not installed"), ("nm", "nm is not installed")])
def test_missing_tool(lab: Path, qhang: Path, tmp_path: Path,
                      monkeypatch: pytest.MonkeyPatch, missing: str,
                      why: str) -> None:
    """A tool that is not there is named."""
    for tool in {"python3", "gdb", "nm", "readelf"} - {missing}:
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path))
    got, checks = checks_of(lab / "bin/fixed" / DAEMON, "--race=1")
    assert got == UNDETERMINED
    assert why in checks[ERASED]["why"]


def descendants(pid: int) -> dict[int, str]:
    """All processes that a process has begun, with their names."""
    found = {}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            try:
                name = Path(f"/proc/{child}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since
            found[child] = name
            found.update(descendants(child))
    return found


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rsplit(")", 1)[1].split()[0] == "Z"


def wait_for(holds: Callable[[], Any]) -> Any:
    """What `holds()` gives once that is true."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            found = holds()
        except FileNotFoundError:  # a process that ended meanwhile
            continue
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not come")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("options, helper", [
    (["--race=50"], "gdb"), (["--stress", "500"], "stress-ng")])
def test_interrupted(lab: Path, qhang: Path, tmp_path: Path, helper: str,
                     options: list[str], signum: signal.Signals) -> None:
    """In the middle of a round: neither QEMU nor its company stays, nor a
    file; not even when qhang itself is killed."""
    with subprocess.Popen(
            [qhang, "verify", *options, lab / "bin/fixed" / DAEMON],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.DEVNULL) as process:

        def in_a_round() -> dict[int, str]:
            found = descendants(process.pid)
            names = {name[:9] for name in found.values()}
            return found if {DAEMON[:9], helper} <= names else {}

        begun = wait_for(in_a_round)
        process.send_signal(signum)
        assert process.wait(LIMIT_S) == -signum
    wait_for(lambda: all(gone(pid) for pid in begun))
    wait_for(lambda: not list(tmp_path.iterdir()))


def test_program_of_a_process(lab: Path, qhang: Path) -> None:
    """By a PID its program is raced; the process itself is left alone."""
    with subprocess.Popen(
            [lab / "bin/fixed" / DAEMON, "--chardev", "stdio,id=c",
             "--monitor", "c"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE) as daemon:
        assert daemon.stdin and daemon.stdout
        daemon.stdout.readline()
        got, checks = checks_of(Path(str(daemon.pid)), "--race=1")
        assert got == SAFE and checks[ERASED]["trial"]["rounds"] == 1
        daemon.stdin.write(b'{"execute": "qmp_capabilities"}\n')
        daemon.stdin.flush()
        assert b"return" in daemon.stdout.readline()
        daemon.kill()
