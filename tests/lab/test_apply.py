"""cfix/qemu/apply.py on the lab's real QEMU source, and its mistakes.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import build as lab_build

APPLY = lab_build.CFIX / "apply.py"
GRAPH, SLEEP = lab_build.SOURCES


@pytest.fixture(name="tree")
def fixture_tree(lab: Path, tmp_path: Path) -> Path:
    """The files that the repairs are about, as QEMU shipped them."""
    source = lab_build.Source(lab)
    source.fetch()
    for name in (GRAPH, SLEEP):
        (tmp_path / name).parent.mkdir()
        shutil.copyfile(lab / "orig" / name, tmp_path / name)
    (tmp_path / "scripts").mkdir()
    shutil.copy(source.tree / "scripts/cocci-macro-file.h",
                tmp_path / "scripts")
    return tmp_path


def run(tree: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """apply.py apply TREE ..."""
    return subprocess.run([sys.executable, str(APPLY), "apply", str(tree),
                           *options], check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


def contents(tree: Path) -> dict[str, bytes]:
    """Every file of the tree, so that nothing may be left behind either."""
    return {str(p.relative_to(tree)): p.read_bytes()
            for p in tree.rglob("*") if p.is_file()}


def test_both(tree: Path) -> None:
    """Both parts change their file, and once is enough."""
    before = contents(tree)
    first = run(tree)
    assert first.returncode == 0, first.stderr
    assert first.stdout == "graph: applied\nsleep: applied\n"
    once = contents(tree)
    assert {n for n in once if once[n] != before[n]} == {GRAPH, SLEEP}
    again = run(tree)
    assert again.returncode == 0, again.stderr
    assert "applied" not in again.stdout
    assert contents(tree) == once


def test_graph_removes_the_question(tree: Path) -> None:
    """The kick loses its condition and nothing else changes."""
    old = (tree / GRAPH).read_text().splitlines()
    assert run(tree, "--part", "graph").returncode == 0
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


@pytest.mark.parametrize("name, old, new, part", [
    (GRAPH, "aio_wait_kick", "no_such_kick", "graph"),
    (SLEEP, "w->to_wake = NULL;", "", "sleep"),
])
def test_not_understood(tree: Path, name: str, old: str, new: str,
                        part: str) -> None:
    """An unknown tree is refused and nothing of it changes."""
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))
    before = contents(tree)
    done = run(tree)
    assert done.returncode == 1
    assert name in done.stderr and "look at it by hand" in done.stderr
    assert contents(tree) == before
    assert run(tree, "--part", part).returncode == 1


def test_no_graph_lock(tree: Path) -> None:
    """QEMU 7.2 has no such lock: that part is absent, the other applies."""
    (tree / GRAPH).unlink()
    done = run(tree)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("graph: absent")
    assert "sleep: applied" in done.stdout


def test_no_qemu(tmp_path: Path) -> None:
    """A folder that is no QEMU tree is named as that."""
    done = run(tmp_path)
    assert done.returncode == 1
    assert "QEMU source tree" in done.stderr
