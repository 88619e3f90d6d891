"""What is no QEMU, or none that can be read: a clear error and no harm.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator

import pytest
from conftest import (CLEAN, FAILED, FINDING, INCOMPLETE, QHANG, VERDICTS,
                      VICTIMS, Victim, qhang, refuses, report, task_states,
                      traced_by, wait_until)

NOBODY = 65534
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


@pytest.fixture(name="open_folder")
def folder_for_anybody() -> Iterator[Path]:
    """A folder that another user can reach, with a copy of qhang in it."""
    folder = Path(tempfile.mkdtemp(prefix="qhang-test-"))
    folder.chmod(0o755)
    shutil.copy(QHANG, folder)
    yield folder
    shutil.rmtree(folder)


def as_nobody(argv: list[str | Path]) -> subprocess.CompletedProcess:
    """Runs a program as a user that owns nothing."""
    return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                           "--clear-groups", "--", *argv], text=True,
                          capture_output=True, timeout=60)


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


# --- what is no core --------------------------------------------------------

def elf_core(machine: int, bits: int = 64) -> bytes:
    """The header of a core of another architecture, and nothing behind it."""
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    if bits == 64:
        return ident + struct.pack("<HHIQQQIHHHHHH", 4, machine, 1, 0, 64, 0,
                                   0, 64, 56, 0, 0, 0, 0)
    return ident + struct.pack("<HHIIIIIHHHHHH", 4, machine, 1, 0, 52, 0, 0,
                               52, 32, 0, 0, 0, 0)


EM_386, EM_AARCH64, EM_X86_64 = 3, 183, 62
NO_CORES = {
    "empty": (b"", ("empty",)),
    "text": (b"this is no core\n" * 100, ("core",)),
    "one-byte": (b"\x7f", ("core",)),
    "magic-only": (b"\x7fELF", ("core",)),
    "aarch64": (elf_core(EM_AARCH64) + bytes(4096), ("x86-64",)),
    "i386": (elf_core(EM_386, 32) + bytes(4096), ("x86-64",)),
    "no-notes": (elf_core(EM_X86_64), ("core",)),
    "zstd-of-nothing": (b"\x28\xb5\x2f\xfd", ("core",)),
}


@pytest.mark.parametrize("name", NO_CORES)
def test_no_core(name: str, tmp_path: Path) -> None:
    """Says what it is instead, with its path."""
    content, words = NO_CORES[name]
    path = tmp_path / "core"
    path.write_bytes(content)
    refuses(FAILED, "diagnose", "--core", path, words=(*words, str(path)))


def test_core_that_is_a_program() -> None:
    """An executable is no core."""
    refuses(FAILED, "diagnose", "--core", QHANG, words=("core", str(QHANG)))


def test_core_that_is_no_file(tmp_path: Path) -> None:
    """A folder, a pipe, a device, nothing: refused at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, Path("/dev/zero"), tmp_path / "none"):
        refuses(FAILED, "diagnose", "--core", path,
                words=(str(path), "give the path of a core"))
    refuses(FAILED, "diagnose", "--core", "", words=("path of a core",))


def test_core_of_something_else(sleeper: subprocess.Popen,
                                tmp_path: Path) -> None:
    """A sound core, but not of a QEMU."""
    subprocess.run(["gcore", "-o", tmp_path / "core", str(sleeper.pid)],
                   check=True, capture_output=True, timeout=120)
    refuses(FAILED, "diagnose", "--core", tmp_path / f"core.{sleeper.pid}",
            words=("no QEMU",))


@pytest.fixture(name="core", scope="module")
def core_of_victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gcore of a victim whose cleaner's wake was lost."""
    with Victim("wake-lost") as victim:
        return victim.gcore(tmp_path_factory.mktemp("core"))


def test_wrong_executable(core: Path, tmp_path: Path) -> None:
    """Names both build-ids; and what is no executable at all."""
    refuses(FAILED, "diagnose", "--core", core, "--exe",
            VICTIMS / "victim-fixed", words=("build-id",))
    text = tmp_path / "text"
    text.write_text("no program\n")
    for path in (text, tmp_path / "none", tmp_path):
        told = refuses(FAILED, "diagnose", "--core", core, "--exe", path,
                       words=(str(path), "build-id"))
        assert "its build-id is" not in told  # it has none
    right = report("--core", core, "--exe", VICTIMS / "victim")
    assert right["status"] == FINDING


def cut_places(core: Path, cut: Path) -> set[int]:
    """Diagnoses `core` cut at 20 places; the exit statuses."""
    content = core.read_bytes()
    seen = set()
    for i in range(20):
        cut.write_bytes(content[:len(content) * i // 20])
        done = qhang("diagnose", "--core", cut)
        assert done.returncode in (FINDING, INCOMPLETE, FAILED)
        if done.returncode == FAILED:
            assert done.stderr.startswith("qhang: ")
        else:
            assert "INCOMPLETE" in done.stdout
        seen.add(done.returncode)
    return seen


def test_core_cut_short(core: Path, tmp_path: Path) -> None:
    """Cut anywhere it is refused, or says that it is not whole: never clean.
    gcore writes the notes last, so none of its can be more than refused."""
    cut_places(core, tmp_path / "cut")


def test_kernel_core_cut_short(tmp_path: Path) -> None:
    """The kernel writes the notes first: some of it can be examined."""
    with Victim("wake-lost", cwd=tmp_path) as victim:
        core = victim.kernel_core(tmp_path)
    seen = cut_places(core, tmp_path / "cut")
    assert seen & {FINDING, INCOMPLETE}, "not one could be examined"


def test_core_with_flipped_bytes(core: Path, tmp_path: Path) -> None:
    """Damage in the headers and notes ends in a verdict or an error."""
    content = bytearray(core.read_bytes())
    damaged = tmp_path / "core"
    random.seed(2)
    for _ in range(30):
        copy = bytearray(content)
        for _ in range(8):
            copy[random.randrange(16, 8192)] = random.randrange(256)
        damaged.write_bytes(copy)
        assert qhang("diagnose", "--core", damaged).returncode in VERDICTS


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
