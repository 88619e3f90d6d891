"""Every file of tests is run.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from conftest import CHECKOUT

TESTS = CHECKOUT / "tests"


def test_every_file_is_listed() -> None:
    """In a meson.build, those of this folder without their test_; the lab's
    are collected by pytest."""
    lists = "".join(path.read_text() for path in TESTS.glob("*/meson.build"))
    for path in TESTS.glob("*/test_*.py"):
        name = path.stem.removeprefix("test_")
        assert path.parent.name == "lab" or f"{path.name}'" in lists \
            or f"  '{name}': '" in lists, path
