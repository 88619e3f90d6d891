"""What every test of the lab needs: the QEMUs and the program under test.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterator

import pytest

import build as lab_build
from labapt import LabError, SourceMissing
from labqhang import qhang_program


@pytest.fixture(autouse=True)
def fixture_no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Cores are large: each test's folder goes when the test ends."""
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture(scope="session", name="lab")
def fixture_lab() -> Path:
    """The lab's folder with its first three QEMUs.

    Skips only when the archive does not have the source any more.
    """
    try:
        return lab_build.ensure(lab_build.FIRST)
    except SourceMissing as missing:
        pytest.skip(f"no lab: {missing}")
    except LabError as error:
        pytest.fail(f"the lab can't be built: {error}")


@pytest.fixture(scope="session", name="qhang")
def fixture_qhang() -> Path:
    """The program under test."""
    program = qhang_program()
    if not program.is_file():
        pytest.fail(f"{program} is not there: build it, or set QHANG")
    return program
