"""A QEMU in a container, seen from the host: its files, its pids, its user.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import (CHECKOUT, CLEAN, FAILED, FINDING, LIMIT_S, QHANG,
                      VICTIMS, Victim, qhang, refuses, report, under,
                      wait_until)

CONTAIN = CHECKOUT / "tests/cli/contain.py"
# What libvirt's guests run as on Debian (libvirt-qemu).
LIBVIRT_UID = 64055
NAME = "qemu-storage-daemon"
MANY = pytest.mark.parametrize("options", [(), ("--chroot",),
                                           ("--uid", str(LIBVIRT_UID))],
                               ids=" ".join)


def build_id(path: Path) -> str:
    """The build-id that readelf shows."""
    told = subprocess.run(["readelf", "-n", path], check=True, text=True,
                          capture_output=True).stdout
    found = re.search(r"Build ID: ([0-9a-f]+)", told)
    assert found
    return found.group(1)


class Root:
    """The root of a container, with the victim in it and what it links to."""

    def __init__(self, folder: Path, scenario: str = "wake-lost") -> None:
        self.folder = folder
        self.exe = folder / NAME
        self.scenario = scenario
        shutil.copy(VICTIMS / "victim", self.exe)
        self.path("/proc").mkdir()
        told = subprocess.run(["ldd", self.exe], check=True, text=True,
                              capture_output=True).stdout
        self.libraries = re.findall(r"(/\S+) \(0x", told)
        for library in self.libraries:
            self.put(Path(library), library)

    def path(self, inside: str) -> Path:
        """Where the host has what is `inside`."""
        return self.folder / inside.lstrip("/")

    def put(self, source: Path, inside: str) -> Path:
        """Copies a file in, with the folders that it needs."""
        target = self.path(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return target

    def strip(self) -> Path:
        """Takes the debug information out; the file that holds it."""
        debug = self.folder / f"{NAME}.debug"
        subprocess.run(["objcopy", "--only-keep-debug", self.exe, debug],
                       check=True)
        subprocess.run(["strip", "--strip-all", self.exe], check=True)
        return debug

    def by_build_id(self) -> str:
        """Where a debug file is looked for by build-id, inside."""
        digits = build_id(self.exe)
        return f"/usr/lib/debug/.build-id/{digits[:2]}/{digits[2:]}.debug"

    def start(self, *options: str) -> "Contained":
        """Runs the victim in there."""
        return Contained(self, *options)


class Contained(Victim):
    """A victim in a container: `pid` is the host's, `inner_pid` its own."""

    def __init__(self, root: Root, *options: str) -> None:
        self.root = root
        super().__init__(root.scenario, executable=None, before=[
            sys.executable, str(CONTAIN), *options, str(root.folder),
            f"/{NAME}"])
        self.inner_pid = self.pid
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}"
                        "/children").read_text().split()
        assert len(children) == 1
        self.pid = int(children[0])


@pytest.fixture(name="root")
def fixture_root() -> Iterator[Root]:
    """A folder that others may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="qhang-root-") as folder:
        os.chmod(folder, 0o755)
        yield Root(Path(folder))


def check(told: dict[str, Any], victim: Contained) -> None:
    """The hang is named as anywhere else, and both pids are told."""
    assert told["status"] == FINDING
    assert told["incomplete"] == []
    [finding] = told["findings"]
    assert finding["rule"] == "sleep.wake-lost"
    assert finding["waiter_tid"] == victim.pid
    assert told["target"]["pid"] == victim.pid
    assert told["target"]["inner_pid"] == victim.inner_pid == 1
    assert told["target"]["exe"] == f"/{NAME}" or \
        told["target"]["exe"].endswith(NAME)
    [main] = [t for t in told["threads"] if t["role"] == "main"]
    assert main["cut"] is None


@MANY
def test_debug_information_in_the_executable(root: Root,
                                             options: tuple[str, ...]) -> None:
    """Nothing of it is on the host; both ways of looking."""
    with root.start(*options) as victim:
        check(report(str(victim.pid)), victim)
        told = report("--no-stop", str(victim.pid))
        text = qhang("diagnose", str(victim.pid)).stdout
    check(told, victim)
    assert text.splitlines()[0].startswith(f"{victim.pid} (1 inside) ")


@MANY
def test_debug_file_by_build_id(root: Root, options: tuple[str, ...]) -> None:
    """In the container's /usr/lib/debug."""
    debug = root.strip()
    root.put(debug, root.by_build_id())
    debug.unlink()
    with root.start(*options) as victim:
        check(report(str(victim.pid)), victim)


@pytest.mark.parametrize("place", [f"/{NAME}.debug", f"/.debug/{NAME}.debug",
                                   f"/usr/lib/debug/{NAME}.debug"])
def test_debug_file_by_its_name(root: Root, place: str) -> None:
    """Beside the executable, and in the usual places."""
    debug = root.strip()
    if debug != root.path(place):
        root.put(debug, place)
        debug.unlink()
    with root.start() as victim:
        check(report(str(victim.pid)), victim)


def test_no_debug_file(root: Root) -> None:
    """The places inside are among those that are named."""
    root.strip().unlink()
    with root.start() as victim:
        refuses(FAILED, "diagnose", str(victim.pid), words=(
            f"/proc/{victim.pid}/root{root.by_build_id()}",
            f"/proc/{victim.pid}/root/.debug/{NAME}.debug"))


def test_debug_file_of_another_build(root: Root) -> None:
    """It is passed over."""
    root.strip().unlink()
    subprocess.run(["objcopy", "--only-keep-debug", VICTIMS / "victim-O0",
                    root.folder / f"{NAME}.debug"], check=True)
    with root.start() as victim:
        refuses(FAILED, "diagnose", str(victim.pid), words=("debug",))


def test_link_within(root: Root) -> None:
    """A link is followed as the container has it."""
    debug = root.strip()
    moved = root.put(debug, "/data/debug-file")
    debug.unlink()
    place = root.path(root.by_build_id())
    place.parent.mkdir(parents=True)
    place.symlink_to("/data/debug-file")
    assert moved.exists()
    with root.start() as victim:
        check(report(str(victim.pid)), victim)


@pytest.mark.parametrize("way", ["absolute", "dots", "folder"])
def test_link_out_of_it(root: Root, tmp_path: Path, way: str) -> None:
    """Not the host's file, however the link puts it."""
    outside = Path(shutil.move(root.strip(), tmp_path / "host.debug"))
    place = root.path(root.by_build_id())
    place.parent.parent.mkdir(parents=True)
    if way == "folder":
        shutil.move(outside, tmp_path / place.name)
        place.parent.symlink_to(tmp_path)
    else:
        place.parent.mkdir()
        dots = "/.." * 12 if way == "dots" else ""
        place.symlink_to(f"{dots}{outside}")
    with root.start() as victim:
        refuses(FAILED, "diagnose", str(victim.pid), words=("debug",))


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
def test_no_regular_file(root: Root, kind: str) -> None:
    """It is neither waited for nor opened."""
    root.strip().unlink()
    place = root.path(root.by_build_id())
    place.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        os.mknod(place, 0o600 | 0o020000, os.makedev(1, 5))
    with root.start() as victim:
        refuses(FAILED, "diagnose", str(victim.pid), words=("debug",))


def test_replaced_in_the_container(root: Root) -> None:
    """An upgrade: executable and libraries are others on the disk by now."""
    with root.start() as victim:
        root.exe.unlink()
        shutil.copy(VICTIMS / "victim-O0", root.exe)
        for library in root.libraries:
            root.path(library).unlink()
            root.path(library).write_bytes(b"a new version, half written")
        maps = Path(f"/proc/{victim.pid}/maps").read_text()
        assert " (deleted)" in maps
        check(report(str(victim.pid)), victim)


def test_libvirt_like_user() -> None:
    """Root looks at another user's; that user at its own; others may not."""
    if os.geteuid() != 0:
        pytest.skip("needs root to be two other users")
    if under():
        pytest.skip(f"{under()[0]} may not be run by everybody")
    with tempfile.TemporaryDirectory(prefix="qhang-user-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        program = shutil.copy(QHANG, folder / "qhang")
        exe = shutil.copy(VICTIMS / "victim", folder / NAME)
        with Victim("wake-lost", executable=None, before=[
                "setpriv", f"--reuid={LIBVIRT_UID}", f"--regid={LIBVIRT_UID}",
                "--clear-groups", str(exe)]) as victim:
            assert report(str(victim.pid))["status"] == FINDING

            def run_as(uid: int) -> subprocess.CompletedProcess:
                return subprocess.run(
                    ["setpriv", f"--reuid={uid}", f"--regid={uid}",
                     "--clear-groups", program, "diagnose", "--json",
                     str(victim.pid)], capture_output=True, text=True,
                    timeout=LIMIT_S, check=False)

            own = run_as(LIBVIRT_UID)
            other = run_as(LIBVIRT_UID + 1)
    assert other.returncode == FAILED
    assert "not permitted" in other.stderr
    if own.returncode == FAILED and "yama" in own.stderr:
        return
    assert own.returncode == FINDING, own.stderr
    assert json.loads(own.stdout)["findings"][0]["certainty"] == "proof"


@pytest.mark.parametrize("no_stop", [[], ["--no-stop"]], ids=str)
def test_deadlock_in_a_pid_namespace(root: Root, no_stop: list[str]) -> None:
    """A mutex names its owner by the pid inside; the report by the host's."""
    root.scenario = "mutex-cycle"
    with root.start() as victim:
        told = report(*no_stop, str(victim.pid))
        tids = {int(p.name) for p in Path(f"/proc/{victim.pid}/task").iterdir()}
    [finding] = told["findings"]
    assert finding["rule"] == "lock.cycle"
    [cycle] = told["graph"]["cycles"]
    nodes = [told["graph"]["nodes"][i] for i in cycle["nodes"]]
    assert {n["tid"] for n in nodes if n["kind"] == "thread"} <= tids


def test_healthy_twin(root: Root) -> None:
    """A container does not make a hang of it."""
    root.scenario = "timer-waiting"
    with root.start() as victim:
        told = report(str(victim.pid))
    assert told["status"] == CLEAN
    assert told["target"]["inner_pid"] == 1


def test_listed(root: Root) -> None:
    """`qhang list` has it, by both pids."""
    with root.start() as victim:
        wait_until(lambda: Path(f"/proc/{victim.pid}/syscall").read_text()
                   .split()[0] != "running", "it sleeps")
        done = qhang("list", "--json", "--interval", "50")
    [found] = [p for p in json.loads(done.stdout)["processes"]
               if p["pid"] == victim.pid]
    assert found["name"] == NAME
    assert found["inner_pid"] == 1
