"""cfix/qemu/repair.py on the lab's real QEMU source, and its mistakes.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import build as lab_build

REPAIR = lab_build.CFIX / "repair.py"
GRAPH, SLEEP = lab_build.SOURCES
KEPT = ".qhang-repair"
FAULTY, REFUSED, FAILED = 1, 2, 3
Done = "subprocess.CompletedProcess[str]"

# Runs repair.py and kills it in front of its Nth rename, or after it.
KILLED = """
import os, runpy, signal, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
nth, after, rename = int(sys.argv[2]), sys.argv[3] == "after", os.replace
calls = 0
def replace(old, new):
    global calls
    calls += 1
    if calls == nth and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(old, new)
    if calls == nth:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = replace
sys.argv[1:] = sys.argv[4:]
runpy.run_path(os.path.join(sys.path[0], "repair.py"), run_name="__main__")
"""


@pytest.fixture(name="tree")
def fixture_tree(lab: Path, tmp_path: Path) -> Path:
    """The files that the repairs are about, as QEMU shipped them."""
    source = lab_build.Source(lab)
    source.fetch()
    tree = tmp_path / "tree"
    for name in (GRAPH, SLEEP, lab_build.MACROS):
        (tree / name).parent.mkdir(parents=True)
        kept = lab / "orig" / name
        shutil.copy(kept if kept.is_file() else source.tree / name,
                    tree / name)
    return tree


def run(command: str, tree: Path, *options: str) -> Done:
    """repair.py COMMAND TREE ..."""
    return subprocess.run([sys.executable, str(REPAIR), command, str(tree),
                           *options], check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


def contents(tree: Path) -> dict[str, bytes]:
    """Every file of the tree, so that nothing may be left behind either."""
    return {str(p.relative_to(tree)): p.read_bytes()
            for p in tree.rglob("*") if p.is_file()}


def sources(tree: Path) -> dict[str, bytes]:
    """Without what is kept of before."""
    return {name: text for name, text in contents(tree).items()
            if not name.startswith(KEPT)}


def states(tree: Path) -> list[str]:
    """What check says of graph and sleep."""
    return [line.split(": ")[1]
            for line in run("check", tree).stdout.splitlines()]


def test_there_and_back(tree: Path) -> None:
    """Both files change, once is enough, and back they come."""
    (tree / GRAPH).chmod(0o640)
    before = contents(tree)
    assert run("check", tree).returncode == FAULTY
    assert states(tree) == ["faulty", "faulty"]
    first = run("apply", tree)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "graph: applied\nsleep: applied\n"
    once = contents(tree)
    assert {n for n, t in sources(tree).items() if t != before[n]} == {
        GRAPH, SLEEP}
    again = run("apply", tree)
    assert again.returncode == 0, again.stderr
    assert ": applied" not in again.stdout
    assert contents(tree) == once
    assert run("check", tree).returncode == 0
    assert states(tree) == ["repaired by qhang"] * 2
    back = run("revert", tree)
    assert back.stdout == "graph: reverted\nsleep: reverted\n"
    assert contents(tree) == before
    assert (tree / GRAPH).stat().st_mode & 0o777 == 0o640
    assert run("revert", tree).returncode == 0
    assert not (tree / KEPT).exists()


def test_one_part_at_a_time(tree: Path) -> None:
    """Each part goes in and out without the other."""
    before = contents(tree)
    assert run("apply", tree, "--part", "graph").returncode == 0
    assert states(tree) == ["repaired by qhang", "faulty"]
    assert run("apply", tree).stdout.endswith("sleep: applied\n")
    assert run("revert", tree, "--part", "graph").returncode == 0
    assert states(tree) == ["faulty", "repaired by qhang"]
    assert run("revert", tree).returncode == 0
    assert contents(tree) == before


def test_graph_removes_the_question(tree: Path) -> None:
    """The kick loses its condition and nothing else changes."""
    old = (tree / GRAPH).read_text().splitlines()
    assert run("apply", tree, "--part", "graph").returncode == 0
    new = (tree / GRAPH).read_text().splitlines()
    question = "    if (qatomic_read(&has_writer)) {"
    assert {line for line in old if line not in new} <= {
        question, "        aio_wait_kick();"}
    assert len(old) - len(new) == 2
    start = next(i for i, line in enumerate(new)
                 if "bdrv_graph_co_rdunlock(void)" in line)
    body = new[start:new.index("}", start)]
    assert not any(line.lstrip().startswith("if (") for line in body)
    assert body[-1].strip() == "aio_wait_kick();"


def test_version_control_does_not_see_it(tree: Path) -> None:
    """In a git tree, git status shows the two files and nothing else."""
    git = ["git", "-C", str(tree), "-c", "user.name=n", "-c", "user.email=e"]
    for argv in (["init", "-q"], ["add", "."], ["commit", "-qm", "m"]):
        subprocess.run([*git, *argv], check=True)
    assert run("apply", tree).returncode == 0
    told = subprocess.run([*git, "status", "--short"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    assert told == f" M {GRAPH}\n M {SLEEP}\n"


@pytest.mark.parametrize("name, old, new, part", [
    (GRAPH, "aio_wait_kick", "no_such_kick", "graph"),
    (SLEEP, "w->to_wake = NULL;", "", "sleep"),
    (SLEEP, "void coroutine_fn qemu_co_sleep(QemuCoSleep *w)",
     "void qemu_co_sleep_more(void)\n{\n}\n\n"
     "void coroutine_fn qemu_co_sleep(QemuCoSleep *w)", "sleep"),
])
def test_not_understood(tree: Path, name: str, old: str, new: str,
                        part: str) -> None:
    """An unknown tree is refused and nothing of it changes."""
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new, 1)
                             if part == "sleep" else text.replace(old, new))
    before = contents(tree)
    done = run("apply", tree)
    assert done.returncode == REFUSED
    assert name in done.stderr and "by hand" in done.stderr
    assert contents(tree) == before
    assert run("apply", tree, "--part", part).returncode == REFUSED
    checked = run("check", tree)
    assert checked.returncode == REFUSED
    assert f"{part}: not understood: " in checked.stdout


def test_repaired_by_others(tree: Path) -> None:
    """A tree that has both repairs already is left as it is, and told so."""
    assert run("apply", tree).returncode == 0
    shutil.rmtree(tree / KEPT)
    # Not qhang's text any more, though it does the same.
    with (tree / SLEEP).open("a") as out:
        out.write("/* the end */\n")
    before = contents(tree)
    assert states(tree) == ["repaired", "repaired"]
    done = run("apply", tree)
    assert done.returncode == REFUSED
    assert "nothing to repair here" in done.stderr
    assert run("revert", tree).stdout.count("nothing to take back") == 2
    assert contents(tree) == before


def test_no_graph_lock(tree: Path) -> None:
    """QEMU 7.2 has no such lock: that part is absent, the other applies."""
    (tree / GRAPH).unlink()
    done = run("apply", tree)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("graph: absent")
    assert "sleep: applied" in done.stdout
    assert states(tree) == ["absent", "repaired by qhang"]


def test_edited_since(tree: Path) -> None:
    """What somebody wrote after the repair is never thrown away."""
    assert run("apply", tree).returncode == 0
    with (tree / SLEEP).open("a") as out:
        out.write("/* mine */\n")
    before = contents(tree)
    done = run("revert", tree)
    assert done.returncode == REFUSED
    assert "edited since" in done.stderr and KEPT in done.stderr
    assert contents(tree) == before


def test_damaged_journal(tree: Path) -> None:
    """What is kept is not trusted blindly."""
    assert run("apply", tree).returncode == 0
    (tree / KEPT / "was" / GRAPH).write_text("")
    done = run("revert", tree)
    assert done.returncode == REFUSED and "is not what" in done.stderr
    (tree / KEPT / "manifest.json").write_text('{"schema": 1, "files": 3}')
    for command in ("apply", "check", "revert"):
        done = run(command, tree)
        assert done.returncode == REFUSED
        assert "manifest.json" in done.stderr


def test_symbolic_link(tree: Path) -> None:
    """A file that stands elsewhere is not replaced by a copy."""
    (tree / SLEEP).rename(tree / "elsewhere.c")
    (tree / SLEEP).symlink_to(tree / "elsewhere.c")
    done = run("apply", tree)
    assert done.returncode == REFUSED and "symbolic link" in done.stderr


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("command", ["apply", "revert"])
def test_killed_at_each_step(tree: Path, tmp_path: Path, command: str,
                             when: str) -> None:
    """Killed at any rename: each file is one or the other, never lost, and
    both ways lead out."""
    faulty = sources(tree)
    assert run("apply", tree).returncode == 0
    repaired = sources(tree)
    shutil.copytree(tree, tmp_path / "repaired")
    assert run("revert", tree).returncode == 0
    shutil.copytree(tree, tmp_path / "faulty")
    start = tmp_path / ("faulty" if command == "apply" else "repaired")
    for nth in range(1, 20):
        for way, wanted in (("apply", repaired), ("revert", faulty)):
            shutil.rmtree(tree)
            shutil.copytree(start, tree)
            done = subprocess.run(
                [sys.executable, "-c", KILLED, str(REPAIR), str(nth), when,
                 command, str(tree)], check=False, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL)
            if done.returncode == 0:
                # Fewer renames than that: all of them have been tried.
                assert nth > 2
                return
            assert done.returncode == -signal.SIGKILL
            for name, text in sources(tree).items():
                assert text in (faulty[name], repaired[name])
            assert run(way, tree).returncode == 0
            assert sources(tree) == wanted
    pytest.fail("it renames without end")


def own_mounts() -> list[str]:
    """What gives a command mounts of its own.

    In a chroot the root is no mount point, and can't be made private; there
    the mounts around it are (tests/fresh-root.sh).
    """
    plain = ["unshare", "-m"]
    if subprocess.run([*plain, "true"], check=False,
                      stderr=subprocess.DEVNULL).returncode == 0:
        return plain
    return [*plain, "--propagation", "unchanged"]


def test_disk_full(tree: Path, tmp_path: Path) -> None:
    """On a full disk nothing changes, and it says so."""
    script = (f"mount -t tmpfs -o size=96k none {tmp_path}/full && "
              f"cp -r {tree} {tmp_path}/full/tree && cd {tmp_path}/full && "
              "head -c 1000000 /dev/zero > fill 2>/dev/null; "
              f"{sys.executable} {REPAIR} apply tree; status=$?; "
              f"diff -r tree {tree} && exit $status")
    (tmp_path / "full").mkdir()
    done = subprocess.run([*own_mounts(), "sh", "-c", script], check=False,
                          text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "No space left" in done.stderr
    assert "nothing was changed" in done.stderr


def test_no_coccinelle(tree: Path) -> None:
    """Without spatch it says which package to install."""
    done = subprocess.run([sys.executable, str(REPAIR), "check", str(tree)],
                          check=False, text=True, env={"PATH": "/nowhere"},
                          stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == REFUSED
    assert "apt-get install coccinelle" in done.stderr
