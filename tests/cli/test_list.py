"""qhang list: which processes, and what is said of their main threads.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import jsonschema
import pytest
from conftest import (BUILD, CHECKOUT, CLEAN, FINDING, INCOMPLETE, LIMIT_S,
                      QHANG, USAGE, VICTIMS, Victim, qhang, refuses, traced_by,
                      under, wait_until)

SCHEMA = json.loads((CHECKOUT / "docs/qhang-list-1.json").read_text())
# What makes `qhang list` end with status 1.
WORTH = {"starved", "elsewhere", "kernel", "stopped", "ended"}


def told(*args: str, prefix: tuple[str, ...] = (),
         program: Path = QHANG) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and processes; what holds of any list is checked."""
    if prefix:
        done = subprocess.run([*prefix, program, "list", "--json", *args],
                              text=True, capture_output=True, check=False,
                              timeout=LIMIT_S)
    else:
        done = qhang("list", "--json", *args)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(report)
    processes = report["processes"]
    assert [p["pid"] for p in processes] == sorted(p["pid"] for p in processes)
    for process in processes:
        assert process["suspicious"] == (process["progress"] in WORTH)
    if any(p["suspicious"] for p in processes):
        assert done.returncode == FINDING
    elif any(p["progress"] == "unknown" for p in processes):
        assert done.returncode == INCOMPLETE
    else:
        assert done.returncode == CLEAN
    return done.returncode, processes


def entry(pid: int, *args: str, **kwargs: Any) -> dict[str, Any]:
    """What is told of that process."""
    [found] = [p for p in told(*args, **kwargs)[1] if p["pid"] == pid]
    return found


def named(folder: Path, name: str) -> Path:
    """A copy of the victim by another name, its twin beside it."""
    for suffix in ("", "-fixed"):
        shutil.copy(VICTIMS / f"victim{suffix}", folder / f"{name}{suffix}")
    return folder / name


@contextmanager
def process(*args: str, executable: str | Path,
            **kwargs: Any) -> Iterator[subprocess.Popen]:
    """A process with that argv, for as long as the block takes."""
    with subprocess.Popen(args, executable=executable, **kwargs) as child:
        try:
            yield child
        finally:
            child.kill()


def state_of(pid: int) -> str:
    """State letter of the main thread."""
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0]


def await_state(pid: int, state: str) -> None:
    """Until it is in that state, as itself."""
    wait_until(lambda: state_of(pid) == state, f"{pid} in state {state}")


@pytest.mark.parametrize("scenario", ["idle", "wake-lost", "graph-unkicked"])
def test_still(scenario: str, tmp_path: Path) -> None:
    """Idle and stuck in a nested poll look alike: it says just that."""
    executable = named(tmp_path, "qemu-storage-daemon")
    with Victim(scenario, executable=executable) as victim:
        await_state(victim.pid, "S")
        found = entry(victim.pid, "--interval", "100")
        assert traced_by(victim.pid) == {0}
    assert found["name"] == "qemu-storage-daemon"
    assert (found["progress"], found["wait"]) == ("still", "ppoll")
    assert found["switches"] == 0
    assert found["threads"] == 4
    assert "idle, or stuck" in found["why"]


def test_busy_turns(tmp_path: Path) -> None:
    """One that works is told so, as soon as the machine lets it work; until
    then it gets no CPU, or waits for a thread that gets none."""
    executable = named(tmp_path, "qemu-nbd-fixed")
    executable.rename(tmp_path / "qemu-nbd")
    shutil.copy(VICTIMS / "victim-fixed", tmp_path / "qemu-nbd-fixed")
    with Victim("busy", executable=tmp_path / "qemu-nbd") as victim:
        exe = Path(os.readlink(f"/proc/{victim.pid}/exe"))
        if exe.name != "qemu-nbd":
            # The scenario wants the twin; by its own name it is no QEMU,
            # but it goes on calling itself one.
            assert exe.name == "qemu-nbd-fixed"

        def works() -> bool:
            found = entry(victim.pid, "--interval", "200")
            assert found["progress"] in ("busy", "turns", "starved", "still")
            return (found["progress"] in ("busy", "turns") and
                    found["switches"] > 0)

        wait_until(works, "it gets a CPU", LIMIT_S)


def test_asleep_elsewhere() -> None:
    """Neither running nor in a poll: worth a diagnosis."""
    with process("qemu-kvm", "600", executable="/bin/sleep") as child:
        await_state(child.pid, "S")
        status, found = told("--interval", "50")
        [found] = [p for p in found if p["pid"] == child.pid]
        text = qhang("list", "--interval", "50").stdout
    assert status == FINDING
    assert found["progress"] == "elsewhere"
    assert found["wait"] == "clock_nanosleep"
    assert found["name"] == "qemu-kvm"
    [line] = [ln for ln in text.splitlines() if ln.split()[0] == str(child.pid)]
    assert line.endswith("worth a diagnose")


def test_stopped() -> None:
    """SIGSTOP shows; qhang does not let it go on."""
    with process("qemu-kvm", "600", executable="/bin/sleep") as child:
        await_state(child.pid, "S")
        child.send_signal(signal.SIGSTOP)
        await_state(child.pid, "T")
        found = entry(child.pid, "--interval", "50")
        assert state_of(child.pid) == "T"
    assert found["progress"] == "stopped"
    assert f"by a signal: kill -CONT {child.pid}" in found["why"]


def test_state_d() -> None:
    """A vfork parent is in state D for as long as its child lives."""
    program = BUILD / "tests/unit/target_child"
    with process("qemu-system-x86_64", "vfork", executable=program,
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        wait_until(lambda: "D" in {
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{child.pid}/task").iterdir()},
            "a thread in state D")
        found = entry(child.pid, "--interval", "100")
    assert found["progress"] == "kernel"
    assert found["in_kernel"] == 1
    assert "state D" in found["why"]


def test_running() -> None:
    """A loop that spins is busy."""
    with process("qemu-img", "-c", "while True: pass",
                 executable=sys.executable) as child:
        found = entry(child.pid, "--interval", "300")
    assert found["progress"] in ("busy", "starved")
    assert found["state"] == "R"
    assert found["wait"] is None


@pytest.mark.parametrize("given, guest", [
    ("web1", "web1"), ("web1,debug-threads=on", "web1"),
    ("guest=web1,debug-threads=on", "web1"),
    ("debug-threads=on,guest=a\x1b[31mb", "a\x1b[31mb")])
def test_guest_name(given: str, guest: str) -> None:
    """The name of the guest, escaped for a terminal."""
    with process("qemu-system-x86_64", "-c", "import time; time.sleep(600)",
                 "-name", given, executable=sys.executable) as child:
        found = entry(child.pid, "--interval", "1")
        text = qhang("list", "--interval", "1").stdout
    assert found["guest"] == guest
    assert guest.replace("\x1b", "\\x1b") in text
    assert "\x1b" not in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("name", ["qemu", "qemu-ga", "qemu-system-",
                                  "qemu-nbd2", "xkvm", "victim"])
def test_others_are_left_out(name: str) -> None:
    """Only what runs QEMU's loop."""
    with process(name, "600", executable="/bin/sleep") as child:
        await_state(child.pid, "S")
        assert child.pid not in [p["pid"]
                                 for p in told("--interval", "1")[1]]


def test_executable_that_was_replaced(tmp_path: Path) -> None:
    """Its name stays, whatever became of the file."""
    executable = named(tmp_path, "qemu-storage-daemon")
    with Victim("idle", executable=executable) as victim:
        executable.unlink()
        found = entry(victim.pid, "--interval", "1")
    assert found["name"] == "qemu-storage-daemon"


def test_age() -> None:
    """Since it was started, to a hundredth of a second."""
    began = time.monotonic_ns()
    with process("qemu-kvm", "600", executable="/bin/sleep") as child:
        started = time.monotonic_ns()
        found = entry(child.pid, "--interval", "1")
        now = time.monotonic_ns()
    assert found["age_ns"] <= now - began + 20_000_000
    assert found["age_ns"] >= 0
    assert started >= began


def test_other_pid_namespace() -> None:
    """Both pids: the host's, and the one inside."""
    argv = ["unshare", "--pid", "--fork", "bash", "-c",
            "exec -a qemu-kvm sleep 600"]
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False,
                      capture_output=True).returncode:
        pytest.skip("this kernel gives no pid namespace")
    with subprocess.Popen(argv) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        wait_until(lambda: children.read_text().split(), "a child")
        inner = int(children.read_text().split()[0])
        try:
            wait_until(lambda: Path(f"/proc/{inner}/cmdline").read_bytes()
                       .startswith(b"qemu-kvm\0"), "it runs")
            found = entry(inner, "--interval", "1")
        finally:
            os.kill(inner, signal.SIGKILL)
    assert found["inner_pid"] == 1


def alone() -> tuple[str, ...]:
    """What runs a command where it sees no other process."""
    prefix = ("unshare", "--pid", "--fork", "--mount-proc")
    if subprocess.run([*prefix, "true"], check=False,
                      capture_output=True).returncode:
        pytest.skip("this kernel gives no pid namespace")
    return prefix


def test_none() -> None:
    """No QEMU at all is no error, and takes no time."""
    status, processes = told("--interval", "3600000", prefix=alone())
    assert (status, processes) == (CLEAN, [])


def test_not_permitted() -> None:
    """Another user sees less, and is told so."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0 or not setpriv:
        pytest.skip("needs root and setpriv to be somebody else")
    if under():
        pytest.skip(f"{under()[0]} may not be run by everybody")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        program = Path(folder) / "qhang"
        shutil.copy(QHANG, program)
        with process("qemu-kvm", "600", executable="/bin/sleep") as child:
            await_state(child.pid, "S")
            found = entry(child.pid, "--interval", "50", program=program,
                          prefix=(setpriv, "--reuid=65534", "--clear-groups",
                                  "--regid=65534"))
    assert found["progress"] in ("unknown", "elsewhere")
    if found["progress"] == "unknown":
        assert found["wait"] is None
        assert "root" in found["why"]


@pytest.mark.parametrize("args", [
    ("list", "1"), ("list", "--interval", "0"), ("list", "--interval", "x"),
    ("list", "--interval", "9999999999"), ("list", "--interval"),
    ("list", "--nonsense")], ids=" ".join)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    """It says what is wrong."""
    refuses(USAGE, *args)
