"""qhang capture of real QEMUs: hung, healthy, stripped, with a guest.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Callable

import pytest

import build as lab_build
import hang as lab_hang
import stockdebs
from alike import capture, findings
from forced import forced
from labapt import LabError, SourceMissing
from labqemu import Qemu
from labqhang import (UNKICKED, WAKE_LOST, Diagnosis, check_clean,
                      check_erased, check_unkicked, check_wake_lost, diagnose,
                      diagnose_core, diagnose_pid, look_clean, truth_of_pid)
from pattern_guest import PATTERN, pattern_guest, pattern_places
from race import ERASED, GRAPH, HANG, WAKE_BEFORE_ARM

MOST_BYTES = 5_000_000


def both(pid: int, exe: Path, core: Path) -> tuple[Diagnosis, Diagnosis]:
    """The process and its capture, which was taken first, untouched by any
    debugger: both say the same."""
    capture(pid, core)
    live = diagnose_pid(pid)
    kept = diagnose_core(core, exe)
    assert findings(kept) == findings(live), kept.told() + live.told()
    for one, other in zip(kept.report["findings"], live.report["findings"]):
        assert (one["heals_in_ns"] is None) == (other["heals_in_ns"] is None)
        if other["heals_in_ns"] is not None:
            assert one["heals_in_ns"] > other["heals_in_ns"] > 0
    assert kept.report["qmp_command"] == live.report["qmp_command"]
    assert core.stat().st_size < MOST_BYTES
    return live, kept


@pytest.mark.parametrize("build, interleaving, check", [
    ("graphfix", WAKE_BEFORE_ARM, check_wake_lost),
    ("graphfix", ERASED, check_erased),
    ("stock", GRAPH, check_unkicked),
])
def test_forced(lab: Path, qhang: Any, tmp_path: Path, build: str,
                interleaving: str, check: Callable[..., None]) -> None:
    """Each fault: the capture tells it as the process does."""
    with forced(build, interleaving, lab=lab) as (qemu, outcome):
        assert outcome == HANG
        live, kept = both(qemu.pid, qemu.exe, tmp_path / "core")
        known = truth_of_pid(qemu.pid)
        check(live, qemu.pid, known)
        check(kept, qemu.pid, known, live=False)


@pytest.mark.parametrize("build, kind, rule", [
    ("graphfix", lab_hang.CACHE_CLEANER, WAKE_LOST),
    ("stock", lab_hang.GRAPH, UNKICKED),
])
def test_natural(lab: Path, qhang: Any, tmp_path: Path, build: str,
                 kind: str, rule: str) -> None:
    """Hung by itself, in whatever command, and only qhang has looked at it."""
    with lab_hang.hung(build, kind, lab=lab) as hang:
        _, kept = both(hang.pid, hang.qemu.exe, tmp_path / "core")
        assert kept.rules() == [rule], kept.told()
        assert kept.report["findings"][0]["certainty"] == "proof", kept.told()
        assert kept.report["qmp_command"] == hang.command, kept.told()
        assert not hang.goes_on(0.2), "it was woken"


def test_healthy_goes_on(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """Captured many times amid its work; each capture is clean, and the work
    goes on."""
    with Qemu(lab, "fixed") as qemu:
        qemu.to_iothread()
        for number in range(10):
            core = tmp_path / f"core{number}"
            qemu.send_add()
            capture(qemu.pid, core)
            qemu.qmp.answer(60)
            check_clean(diagnose_core(core, qemu.exe))
            qemu.delete(60)
            assert core.stat().st_size < MOST_BYTES


def debug_folder(program: Path, folder: Path) -> tuple[Path, Path]:
    """A stripped copy of the program, and where its symbols are."""
    stripped = folder / program.name
    subprocess.run(["strip", "-o", stripped, program], check=True)
    told = subprocess.run(["readelf", "-n", program], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    match = re.search(r"Build ID: (..)(\w+)", told)
    assert match
    place = folder / "debug" / ".build-id" / match[1] / f"{match[2]}.debug"
    place.parent.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", program, place],
                   check=True)
    return stripped, folder / "debug"


def test_stripped(lab: Path, qhang: Any, tmp_path: Path) -> None:
    """No symbols where it ran, and all that is needed where they are."""
    stripped, debug = debug_folder(
        lab / "bin/fixed/qemu-storage-daemon", tmp_path)
    core = tmp_path / "core"
    with Qemu(lab, "fixed", exe=stripped) as qemu:
        qemu.add(60)
        capture(qemu.pid, core)
    got = diagnose("--core", str(core), "--exe", str(stripped),
                   "--debuginfo", str(debug))
    check_clean(got)
    assert any(s["user"] == "qcow2.cache-clean-timer"
               for s in got.report["sleepers"]), got.told()


def test_debian(lab: Path, qhang: Any, tmp_path: Path,
                monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's own storage daemon as it is shipped: stripped, QEMU 7.2."""
    try:
        version, programs = stockdebs.fetch(lab, "bookworm")
        libraries = stockdebs.libraries(lab, "bookworm", ("libfuse3-3",))
    except SourceMissing as missing:
        pytest.skip(f"no stock QEMU: {missing}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    core = tmp_path / "core"
    with Qemu(lab, "stock", exe=programs / "qemu-storage-daemon") as qemu:
        qemu.add(60)
        capture(qemu.pid, core)
        threads = {int(task) for task in os.listdir(f"/proc/{qemu.pid}/task")}
        shown = subprocess.run(["eu-stack", "--core", core, "-e", qemu.exe],
                               check=False, text=True, stdout=subprocess.PIPE)
    assert {int(tid) for tid in re.findall(r"TID (\d+)", shown.stdout)} \
        == threads, version
    assert "ppoll" in shown.stdout
    assert core.stat().st_size < MOST_BYTES


RAM = {
    "anonymous": [],
    "not-dumped": ["-machine", "dump-guest-core=off"],
    "not-merged": ["-machine", "mem-merge=off"],
    "memfd": ["-object", "memory-backend-memfd,id=m,size=64M,share=on",
              "-machine", "memory-backend=m"],
    "private-memfd": ["-object", "memory-backend-memfd,id=m,size=64M,"
                      "share=off", "-machine", "memory-backend=m"],
    "file": ["-object", "memory-backend-file,id=m,size=64M,share=on,"
             "mem-path=ram", "-machine", "memory-backend=m"],
    "private-file": ["-object", "memory-backend-file,id=m,size=64M,share=off,"
                     "mem-path=ram", "-machine", "memory-backend=m"],
}


@pytest.fixture(name="system")
def fixture_system(lab: Path) -> Path:
    """The lab's system emulator."""
    try:
        lab_build.ensure(["system"])
    except SourceMissing as missing:
        pytest.skip(f"no lab: {missing}")
    except LabError as error:
        pytest.fail(f"the lab can't be built: {error}")
    return lab / "bin/graphfix/qemu-system-x86_64"


@pytest.mark.parametrize("kind", RAM)
def test_guest_ram_is_never_in_it(system: Path, qhang: Any, tmp_path: Path,
                                  kind: str,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that the guest has all over its RAM is in its RAM only, and
    not in the capture, which is clean all the same."""
    monkeypatch.chdir(tmp_path)
    core = tmp_path / "core"
    options = ["-m", "64", *RAM[kind]]
    with pattern_guest(system, tmp_path, options) as pid:
        said = capture(pid, core)
        assert len(pattern_places(pid)) >= 1
        look_clean(pid)
    assert PATTERN not in core.read_bytes()
    assert "guest RAM" in said
    check_clean(diagnose_core(core, system))


def test_much_guest_ram(system: Path, qhang: Any, tmp_path: Path) -> None:
    """8 GiB of it make no larger file than 64 MiB."""
    sizes = {}
    for amount in ("64M", "8G"):
        folder = tmp_path / amount
        folder.mkdir()
        with pattern_guest(system, folder, ["-m", amount]) as pid:
            said = capture(pid, folder / "core")
        sizes[amount] = (folder / "core").stat().st_size
        match = re.search(r"left out +([\d.]+) MB", said)
        assert match
        least = 64 << 20 if amount == "64M" else 8 << 30
        assert float(match[1]) * 1e6 > least
    assert abs(sizes["8G"] - sizes["64M"]) < 2_000_000, sizes
