"""qhang capture: the file that it leaves, and what it refuses.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import select
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Iterator

import pytest
from conftest import (CLEAN, FAILED, FINDING, QHANG, VICTIMS, Victim, qhang,
                      refuses, report, task_states, traced_by, under,
                      wait_until)

FACTS_TYPE = 0x51480001
# A process with something to look for, and something that must not be found.
HOLDER = textwrap.dedent("""
    import ctypes, mmap, os, sys
    def block(size, word, advice=None, flags=mmap.MAP_PRIVATE):
        fd = -1
        if not flags & mmap.MAP_ANONYMOUS:
            fd = os.memfd_create("ram")
            os.ftruncate(fd, size)
        held = mmap.mmap(fd, size, flags=flags)
        if advice is not None:
            held.madvise(advice)
        # The word is never anywhere in whole but there.
        held[4096:4096 + 2 * len(word)] = (word + word.swapcase()).encode()
        return held
    anon = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    mib = 1 << 20
    kept = [block(mib, "kept"[::-1].upper(), flags=anon)]
    ram = [
        block(mib, "ram-a", mmap.MADV_DONTFORK, anon),
        block(64 * mib, "ram-b", None, anon),
        block(4 * mib, "ram-c", mmap.MADV_HUGEPAGE, anon),
        block(mib, "ram-d", None, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS),
        block(mib, "ram-e", None, mmap.MAP_SHARED),
        block(mib, "ram-f", mmap.MADV_DONTFORK, mmap.MAP_PRIVATE),
        block(mib, "ram-g", mmap.MADV_DONTDUMP, anon),
    ]
    print("ready", flush=True)
    sys.stdin.read()
""")


def capture(pid: int, path: Path, *args: str, status: int = CLEAN,
            **kwargs: Any) -> str:
    """Captures; gives what it said on stdout."""
    done = qhang("capture", str(pid), "-o", path, *args, **kwargs)
    assert done.returncode == status
    return done.stdout


def notes(core: Path) -> dict[tuple[str, int], list[bytes]]:
    """The notes of a core by name and type."""
    done = subprocess.run(["readelf", "-lW", core], check=True,
                          capture_output=True, text=True)
    match = re.search(r"NOTE\s+0x(\w+)\s+\w+\s+\w+\s+0x(\w+)", done.stdout)
    assert match
    with core.open("rb") as file:
        file.seek(int(match[1], 16))
        rest = file.read(int(match[2], 16))
    found: dict[tuple[str, int], list[bytes]] = {}
    while rest:
        namesz, descsz, kind = (int.from_bytes(rest[i:i + 4], "little")
                                for i in (0, 4, 8))
        name = rest[12:12 + namesz].rstrip(b"\0").decode()
        at = 12 + (namesz + 3) // 4 * 4
        found.setdefault((name, kind), []).append(rest[at:at + descsz])
        rest = rest[at + (descsz + 3) // 4 * 4:]
    return found


def facts(core: Path) -> dict[str, Any]:
    """The note of facts."""
    [text] = notes(core)["QHANG", FACTS_TYPE]
    return json.loads(text.rstrip(b"\0"))


@pytest.fixture(name="holder")
def process_with_ram() -> Iterator[subprocess.Popen]:
    """A process with memory of all kinds."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"ready\n"
    yield child
    child.kill()
    child.communicate()


def test_guest_ram_is_not_in_it(holder: subprocess.Popen,
                                tmp_path: Path) -> None:
    """Nothing of what QEMU has guest RAM in, and all of what it has not."""
    core = tmp_path / "core"
    said = capture(holder.pid, core)
    held = core.read_bytes()
    assert b"TPEKtpek" in held
    for letter in "abcdefg":
        word = f"ram-{letter}"
        assert (word + word.swapcase()).encode() not in held, word
    assert "guest RAM" in said
    reasons = {item["why"] for item in facts(core)["left_out"]}
    assert reasons >= {"guest RAM", "large, may be guest RAM",
                       "shared memory", "not to be dumped"}
    assert len(held) < 20 << 20


def test_facts(tmp_path: Path) -> None:
    """Clocks, threads and eventfds are those of the process."""
    core = tmp_path / "core"
    with Victim("wake-lost") as victim:
        wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                   "all threads sleep")
        capture(victim.pid, core)
        told = facts(core)
        tasks = Path(f"/proc/{victim.pid}/task")
        names = {int(task.name): (task / "comm").read_text().rstrip("\n")
                 for task in tasks.iterdir()}
        eventfds = {int(fd.name) for fd in
                    Path(f"/proc/{victim.pid}/fd").iterdir()
                    if os.readlink(fd) == "anon_inode:[eventfd]"}
    assert told["format"] == "qhang-capture/1"
    assert told["exe"] == str(VICTIMS / "victim")
    assert {t["tid"]: t["name"] for t in told["threads"]} == names
    assert all(t["stopped"] and t["state"] == "S" and t["wchan"]
               and 0 < t["last_ran_ns"] < told["monotonic_ns"]
               for t in told["threads"])
    assert {e["fd"] for e in told["eventfds"]} == eventfds
    assert told["pause_ns"] > 0
    assert told["left_out"] == []


@pytest.mark.parametrize("umask", [0, 0o077, 0o777], ids=oct)
def test_mode(umask: int, tmp_path: Path) -> None:
    """0600 whatever the umask; nothing but the core is left."""
    with Victim("idle") as victim:
        capture(victim.pid, tmp_path / "core",
                preexec_fn=lambda: os.umask(umask))
    [core] = tmp_path.iterdir()
    assert stat.S_IMODE(core.stat().st_mode) == 0o600


def unharmed(pid: int) -> None:
    """Nobody traces the process, and no thread stands."""
    assert traced_by(pid) == {0}
    assert not {"t", "T"} & set(task_states(pid).values())


def test_never_over_a_file(sleeper: subprocess.Popen, tmp_path: Path) -> None:
    """Neither a file, nor a folder, nor a link that leads nowhere; and then
    nothing is killed."""
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("file", "folder", "link"):
        refuses(FAILED, "capture", str(sleeper.pid), "-o", tmp_path / name,
                "--kill-after", words=("exists", name, "another name"))
    assert (tmp_path / "file").read_text() == "precious"
    assert not (tmp_path / "target").exists()
    assert sleeper.poll() is None
    unharmed(sleeper.pid)


@pytest.mark.parametrize("path, word", [
    ("no/such/core", "No such file"),
    ("folder/", "directory"),
    ("file/core", "Not a directory"),
    ("x" * 300, "too long"),
    ("/proc/core", "cannot write"),
])
def test_no_place(path: str, word: str, sleeper: subprocess.Popen,
                  tmp_path: Path) -> None:
    """A place that there is not."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    refuses(FAILED, "capture", str(sleeper.pid), "-o", path, words=(word,),
            cwd=tmp_path)
    unharmed(sleeper.pid)


def test_not_permitted(sleeper: subprocess.Popen, tmp_path: Path) -> None:
    """Neither to look at the process, nor to write there."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")

    def nobody() -> None:
        os.chdir("/")
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)

    refuses(FAILED, "capture", str(sleeper.pid), "-o", "/dev/shm/qhang-test",
            words=("not permitted", "sudo"), preexec_fn=nobody)
    assert not Path("/dev/shm/qhang-test").exists()
    with subprocess.Popen(["sleep", "600"], preexec_fn=nobody) as own:
        refuses(FAILED, "capture", str(own.pid), "-o", tmp_path / "core",
                words=("Permission denied",), preexec_fn=nobody)
        own.kill()
    assert not list(tmp_path.iterdir())


def test_no_process(tmp_path: Path) -> None:
    """None such, a dead one, a kernel thread."""
    core = tmp_path / "core"
    with subprocess.Popen(["true"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        refuses(FAILED, "capture", str(child.pid), "-o", core,
                words=("zombie",))
    refuses(FAILED, "capture", str(child.pid), "-o", core,
            words=("no process",))
    if Path("/proc/2/comm").read_text() == "kthreadd\n":
        refuses(FAILED, "capture", "2", "-o", core, words=("kernel thread",))
    assert not list(tmp_path.iterdir())


def test_file_size_limit(tmp_path: Path) -> None:
    """RLIMIT_FSIZE is told, not died of; no file, and no kill."""
    limit = (1 << 16, 1 << 16)
    with Victim("idle") as victim:
        refuses(FAILED, "capture", str(victim.pid), "-o", tmp_path / "core",
                "--kill-after", words=("too large", "ulimit"),
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                      limit))
        assert victim.child.poll() is None
        unharmed(victim.pid)
    assert not list(tmp_path.iterdir())


@pytest.fixture(name="tiny")
def tiny_file_system(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs",
                           tmp_path], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_disk_full(tiny: Path) -> None:
    """No room: told before the process is stopped; no file, and no kill."""
    with Victim("idle") as victim:
        refuses(FAILED, "capture", str(victim.pid), "-o", tiny / "core",
                "--kill-after", words=("no space", "more room"))
        assert victim.child.poll() is None
        unharmed(victim.pid)
    assert not list(tiny.iterdir())


def begin_on_terminal(pid: int, core: Path) -> tuple[subprocess.Popen, int]:
    """Starts a capture whose bar goes to a terminal."""
    ours, theirs = pty.openpty()
    argv = [*under(), str(QHANG), "capture", str(pid), "-o", str(core)]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=theirs,
                             stdin=subprocess.DEVNULL)
    os.close(theirs)
    return child, ours


def read_to_end(terminal: int) -> bytes:
    """What was written to a terminal until its other end was closed."""
    told = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return told
        if not piece:
            return told
        told += piece


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM,
                                    signal.SIGINT])
def test_killed(number: int, tmp_path: Path) -> None:
    """Ended while it writes, qhang leaves nothing, and the target running.

    The bar says that the writing has begun; where that was over before the
    signal came, it is tried again.
    """
    core = tmp_path / "core"
    with Victim("idle", "--coroutines", "10000") as victim:
        for _ in range(50):
            child, terminal = begin_on_terminal(victim.pid, core)
            assert select.select([terminal], [], [], 60)[0]
            child.send_signal(number)
            read_to_end(terminal)
            os.close(terminal)
            if child.wait(60) == -number:
                break
            core.unlink()
        assert child.returncode == -number
        assert not list(tmp_path.iterdir())
        unharmed(victim.pid)
        assert victim.child.poll() is None


def test_bar(tmp_path: Path) -> None:
    """On a terminal, and wiped out in the end; not for a small core."""
    with Victim("idle", "--coroutines", "10000") as victim:
        child, terminal = begin_on_terminal(victim.pid, tmp_path / "large")
        told = read_to_end(terminal)
        os.close(terminal)
        assert child.wait(60) == CLEAN
    assert re.search(rb"\[#+\.+\] (\d+) of (\d+)", told)
    assert re.search(rb"\[#+\] (\d+) of \1", told)
    assert told.endswith(b"\r\x1b[K")
    with Victim("idle") as victim:
        child, terminal = begin_on_terminal(victim.pid, tmp_path / "small")
        assert read_to_end(terminal) == b""
        os.close(terminal)
        assert child.wait(60) == CLEAN


@pytest.mark.parametrize("option, number", [
    ("--kill-after", signal.SIGKILL),
    ("--kill-after=KILL", signal.SIGKILL),
    ("--kill-after=SIGTERM", signal.SIGTERM),
    ("--kill-after=10", signal.SIGUSR1),
])
def test_kill_after(option: str, number: int, tmp_path: Path) -> None:
    """The evidence is there, and the process is not."""
    core = tmp_path / "core"
    with Victim("erased") as victim:
        said = capture(victim.pid, core, option)
        assert victim.child.wait(60) == -number
    assert f"signal {int(number)}" in said
    assert report("--core", core)["status"] == FINDING


def test_is_synced_before_it_kills(tmp_path: Path) -> None:
    """fsync of file and folder, a name, and only then the signal."""
    trace = tmp_path / "trace"
    tracer = subprocess.run(["strace", "-V"], capture_output=True)
    if tracer.returncode:
        pytest.skip("no strace here")
    with Victim("idle") as victim:
        subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=fsync,"
                        "linkat,pidfd_send_signal", QHANG, "capture",
                        str(victim.pid), "-o", tmp_path / "core",
                        "--kill-after"], check=True)
        assert victim.child.wait(60) == -signal.SIGKILL
    calls = re.findall(r"(fsync|linkat|pidfd_send_signal)\(.*= 0",
                       trace.read_text())
    assert calls == ["fsync", "linkat", "fsync", "pidfd_send_signal"]


def test_stays_with_the_process(sleeper: subprocess.Popen,
                                tmp_path: Path) -> None:
    """A second capture is as good as the first, and changes nothing."""
    for name in ("one", "two"):
        capture(sleeper.pid, tmp_path / name)
        unharmed(sleeper.pid)
    assert sleeper.poll() is None


def backtraces(core: Path) -> list[str]:
    """gdb's, of all threads."""
    done = subprocess.run(
        ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off",
         VICTIMS / "victim", core, "-ex", "thread apply all bt",
         "-ex", "info sharedlibrary"],
        check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    return [line for line in lines if not line.startswith("Core was")]


def eu_stack(core: Path) -> str:
    """elfutils' backtraces."""
    done = subprocess.run(["eu-stack", "-e", VICTIMS / "victim", "--core",
                           core], check=True, capture_output=True, text=True)
    return done.stdout


def test_debuggers_read_it(tmp_path: Path) -> None:
    """gdb and eu-stack show of it what they show of gdb's own core."""
    with Victim("wake-lost", "--coroutines", "100") as victim:
        capture(victim.pid, tmp_path / "small")
        whole = victim.gcore(tmp_path)
    told = backtraces(tmp_path / "small")
    assert told == backtraces(whole)
    assert any("cache_clean_timer_del_and_wait" in line for line in told)
    told_by_eu = eu_stack(tmp_path / "small")
    assert "bdrv_unref" in told_by_eu
    assert told_by_eu == eu_stack(whole)


def test_stripped(tmp_path: Path) -> None:
    """No symbols are needed to take it; to diagnose it they are."""
    stripped = tmp_path / "victim-stripped"
    subprocess.run(["strip", "-o", stripped, VICTIMS / "victim"], check=True)
    core = tmp_path / "core"
    with Victim("wake-lost", executable=stripped) as victim:
        capture(victim.pid, core)
    refuses(FAILED, "diagnose", "--core", core, words=("debug",))
    stripped.unlink()
    debug = VICTIMS / "victim"
    build_id = subprocess.run(["readelf", "-n", debug], check=True,
                              capture_output=True, text=True).stdout
    match = re.search(r"Build ID: (..)(\w+)", build_id)
    assert match
    place = tmp_path / "debug/.build-id" / match[1]
    place.mkdir(parents=True)
    subprocess.run(["objcopy", "--only-keep-debug", debug,
                    place / f"{match[2]}.debug"], check=True)
    subprocess.run(["strip", "-o", stripped, debug], check=True)
    told = report("--core", core, "--debuginfo", str(tmp_path / "debug"))
    assert [f["rule"] for f in told["findings"]] == ["sleep.wake-lost"]
