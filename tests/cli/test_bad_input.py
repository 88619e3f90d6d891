"""What is no QEMU, or none that can be read: a clear error and no harm.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import (CLEAN, FAILED, FINDING, INCOMPLETE, QHANG, VERDICTS,
                      VICTIMS, Victim, as_nobody, qhang, refuses, report,
                      task_states, traced_by, wait_until)

# Seizes its argument and holds it until its stdin ends.
TRACER = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                        ctypes.c_void_p]
PTRACE_SEIZE = 0x4206
if libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None):
    sys.exit(f"cannot trace: errno {ctypes.get_errno()}")
print("ready", flush=True)
sys.stdin.read()
"""


def unused_pid() -> int:
    """A pid that no process has: of one that has been waited for."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_no_such_process() -> None:
    """Says that there is none."""
    pid = unused_pid()
    refuses(FAILED, "diagnose", str(pid), words=("no process", str(pid)))


def test_zombie() -> None:
    """Says that it is one."""
    child = subprocess.Popen(["true"])
    wait_until(lambda: task_states(child.pid)[child.pid] == "Z", "a zombie")
    refuses(FAILED, "diagnose", str(child.pid), words=("zombie",))
    child.wait()


def test_kernel_thread() -> None:
    """Says that it is one."""
    if not Path("/proc/2/comm").exists() or \
            Path("/proc/2/comm").read_text() != "kthreadd\n":
        pytest.skip("no kernel thread to be seen in this pid namespace")
    refuses(FAILED, "diagnose", "2", words=("kernel thread",))


def test_no_qemu(sleeper: subprocess.Popen) -> None:
    """A program without debug information that is not called QEMU."""
    refuses(FAILED, "diagnose", str(sleeper.pid), words=("no QEMU",))
    assert task_states(sleeper.pid)[sleeper.pid] == "S"


def test_no_qemu_with_debug_information(tmp_path: Path) -> None:
    """A program with debug information that has none of QEMU's types."""
    source = tmp_path / "other.c"
    source.write_text("#include <unistd.h>\n"
                      "int main(void) { puts(\"ready\"); fflush(stdout); "
                      "return pause(); }\n".replace("<unistd.h>",
                                                    "<unistd.h>\n#include "
                                                    "<stdio.h>"))
    program = tmp_path / "other"
    subprocess.run(["gcc", "-g", "-o", program, source], check=True)
    with subprocess.Popen([program], stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdout.readline() == b"ready\n"
        refuses(FAILED, "diagnose", str(child.pid), words=("QEMU",))
        child.kill()


def test_already_traced() -> None:
    """Says by whom."""
    with Victim("wake-lost") as victim, subprocess.Popen(
            [sys.executable, "-c", TRACER, str(victim.pid)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout and tracer.stdout.readline() == "ready\n"
        refuses(FAILED, "diagnose", str(victim.pid),
                words=("traced", str(tracer.pid)))
        assert traced_by(victim.pid) == {0, tracer.pid}
        assert "t" not in task_states(victim.pid).values()
        tracer.communicate()
        assert report(str(victim.pid))["status"] == FINDING


def test_stopped_by_a_signal() -> None:
    """One that SIGSTOP has stopped is examined, and stays stopped."""
    with Victim("wake-lost") as victim:
        os.kill(victim.pid, signal.SIGSTOP)
        wait_until(lambda: set(task_states(victim.pid).values()) == {"T"},
                   "stopped")
        qhang("diagnose", str(victim.pid))
        # Each goes back into its stop as soon as it gets a CPU.
        wait_until(lambda: set(task_states(victim.pid).values()) == {"T"},
                   "still stopped")
        assert traced_by(victim.pid) == {0}
        os.kill(victim.pid, signal.SIGCONT)
        wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                   "goes on")
        assert report(str(victim.pid))["status"] == FINDING


def test_report_without_a_folder(tmp_path: Path) -> None:
    """The report itself is there; what is missing is a place for the page."""
    with Victim("idle") as victim:
        done = qhang("diagnose", "--html", tmp_path / "no" / "x.html",
                     str(victim.pid))
    assert done.returncode == FAILED
    assert "no hang found" in done.stdout
    assert "in a folder that you may write to" in done.stderr


@pytest.mark.parametrize("held", [False, True])
def test_another_user(open_folder: Path, held: bool) -> None:
    """Says what it takes to be allowed."""
    if os.getuid():
        pytest.skip("needs root, to be another user")
    registers = open_folder / "registers"
    registers.write_text("{}")
    with Victim("wake-lost") as victim:
        done = as_nobody([open_folder / "qhang", "diagnose", str(victim.pid),
                          *(["--registers", registers] if held else [])])
        assert done.returncode == FAILED
        assert done.stdout == ""
        assert "sudo" in done.stderr and "CAP_SYS_PTRACE" in done.stderr
        assert traced_by(victim.pid) == {0}


def test_exits_meanwhile() -> None:
    """A process that ends at any instant of the diagnosis: a verdict or an
    error, and never a crash."""
    random.seed(1)
    seen = set()
    for _ in range(20):
        with Victim("wake-lost") as victim:
            child = subprocess.Popen([QHANG, "diagnose", str(victim.pid)],
                                     stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE, text=True)
            time.sleep(random.uniform(0, 0.35))
            victim.child.kill()
            _, told = child.communicate(timeout=60)
            assert child.returncode in VERDICTS
            assert (child.returncode == FAILED) == told.startswith("qhang: ")
            seen.add(child.returncode)
    assert FAILED in seen, "none of the kills came in time"


# --- debug information ------------------------------------------------------

class Stripped:
    """A victim without debug information, and that in a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "victim"
        self.debug = folder / "victim.debug"
        built = VICTIMS / "victim"
        subprocess.run(["objcopy", "--only-keep-debug", built, self.debug],
                       check=True)
        subprocess.run(["objcopy", "--strip-all",
                        f"--add-gnu-debuglink={self.debug}", built,
                        self.program], check=True)
        notes = subprocess.run(["readelf", "-n", built], check=True,
                               capture_output=True, text=True).stdout
        self.build_id = notes.split("Build ID: ")[1].split()[0]


@pytest.fixture(name="stripped")
def stripped_victim(tmp_path: Path) -> Stripped:
    """See Stripped."""
    return Stripped(tmp_path)


def test_debuglink(stripped: Stripped) -> None:
    """Found beside the program, by .gnu_debuglink."""
    with Victim("wake-lost", executable=stripped.program) as victim:
        assert report(str(victim.pid))["status"] == FINDING


def test_debuginfo_option(stripped: Stripped, tmp_path: Path) -> None:
    """Found by build-id in the folder that --debuginfo names."""
    folder = tmp_path / "debug" / ".build-id" / stripped.build_id[:2]
    folder.mkdir(parents=True)
    stripped.debug.rename(folder / f"{stripped.build_id[2:]}.debug")
    with Victim("wake-lost", executable=stripped.program) as victim:
        told = report("--debuginfo", tmp_path / "debug", str(victim.pid))
        assert told["status"] == FINDING


def test_no_debuginfo(stripped: Stripped) -> None:
    """Says which build-id it looked for, and where."""
    stripped.debug.unlink()
    with Victim("wake-lost", executable=stripped.program) as victim:
        told = refuses(FAILED, "diagnose", str(victim.pid),
                       words=(stripped.build_id, "/usr/lib/debug"))
        assert "--debuginfo" in told
        assert set(task_states(victim.pid).values()) == {"S"}


@pytest.mark.parametrize("content", [b"", b"nonsense" * 1000],
                         ids=["empty", "nonsense"])
def test_unreadable_debuginfo(stripped: Stripped, content: bytes) -> None:
    """A debug file that is none does not pass for one."""
    stripped.debug.write_bytes(content)
    with Victim("wake-lost", executable=stripped.program) as victim:
        refuses(FAILED, "diagnose", str(victim.pid),
                words=(stripped.build_id,))


def test_debuginfo_cut_short(stripped: Stripped) -> None:
    """A debug file that ends early: an error or gaps, never clean."""
    content = stripped.debug.read_bytes()
    for part in (0.2, 0.5, 0.8):
        stripped.debug.write_bytes(content[:int(len(content) * part)])
        with Victim("wake-lost", executable=stripped.program) as victim:
            done = qhang("diagnose", str(victim.pid))
            assert done.returncode in (FINDING, INCOMPLETE, FAILED)
            assert traced_by(victim.pid) == {0}


# --- memory that lies -------------------------------------------------------

@pytest.mark.parametrize("scenario, status", [("idle", INCOMPLETE),
                                              ("wake-lost", FINDING)])
@pytest.mark.parametrize("plant", ["timer-loop", "queue-loop"])
def test_planted_loop(plant: str, scenario: str, status: int) -> None:
    """A list that bites its tail ends the walk, and is told."""
    with Victim(scenario, "--plant", plant) as victim:
        told = report(str(victim.pid))
        assert told["status"] == status
        assert not told["complete"]
        assert any("circle" in gap["reason"] for gap in told["incomplete"])
        text = qhang("diagnose", str(victim.pid)).stdout
        assert "INCOMPLETE" in text
        assert "runs in a circle" in text


def test_planted_maze() -> None:
    """Lists of lists have an end too, and the target is not held for long."""
    with Victim("idle", "--plant", "maze") as victim:
        told = report(str(victim.pid))
    assert told["status"] == INCOMPLETE
    assert any("no end" in gap["reason"] for gap in told["incomplete"])
    assert told["pause_ns"] < 20 * 10**9  # all steps take minutes


def test_planted_ram() -> None:
    """What a guest writes into its RAM is no coroutine of QEMU's."""
    with Victim("idle", "--plant", "ram") as victim:
        told = report(str(victim.pid))
    assert told["status"] == CLEAN
    assert len(told["coroutines"]) == victim.in_use + victim.pooled


def test_planted_names(tmp_path: Path) -> None:
    """Control characters in names reach neither terminal nor JSON."""
    with Victim("wake-lost", "--plant", "names") as victim:
        assert report(str(victim.pid))["status"] == FINDING
        told = qhang("diagnose", str(victim.pid)).stdout
        core = victim.gcore(tmp_path)
    from_core = qhang("diagnose", "--core", core).stdout
    for text in (told, from_core):
        lines = text.split("\n")
        assert "HANG" in text
        assert all(line.isprintable() for line in lines)
        assert all(len(line) <= 80 for line in lines)
    assert "\\x1b" in told


def test_killed_while_diagnosing() -> None:
    """However early or late qhang is killed, the target runs on."""
    random.seed(3)
    with Victim("wake-lost") as victim:
        for _ in range(30):
            child = subprocess.Popen([QHANG, "diagnose", str(victim.pid)],
                                     stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0, 0.3))
            child.kill()
            child.wait()
            wait_until(lambda: set(task_states(victim.pid).values()) == {"S"},
                       "the target runs on")
            assert traced_by(victim.pid) == {0}
        assert report(str(victim.pid))["status"] == FINDING


def test_file_cut_short_is_an_error() -> None:
    """SIGBUS, which a file that shrinks under a mapping gives, is no crash."""
    with Victim("idle") as victim, \
            subprocess.Popen([QHANG, "diagnose", str(victim.pid),
                              "--registers", "-"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True) as child:
        wait_until(lambda: "read" in Path(f"/proc/{child.pid}/wchan")
                   .read_text(), "it reads its stdin")
        child.send_signal(signal.SIGBUS)
        out, told = child.communicate(timeout=60)
    assert child.returncode == FAILED
    assert out == ""
    assert "cut short" in told
    assert told.splitlines()[-1].startswith("  try   ")


def test_file_cut_short_at_any_instant(tmp_path: Path) -> None:
    """A program that somebody truncates while it is read."""
    whole = (VICTIMS / "victim").read_bytes()
    program = tmp_path / "qemu-nbd"
    for step in range(20):
        program.write_bytes(whole)
        with subprocess.Popen(
                [QHANG, "verify", program], stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True) as child:
            # Some time in its life; which instant does not matter.
            time.sleep(step * 0.0005)
            os.truncate(program, 4096)
            _, told = child.communicate(timeout=60)
        assert child.returncode in VERDICTS, told
