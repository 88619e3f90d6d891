"""The mirror is found in both formats of apt sources.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path

import pytest

from labapt import LabError, Mirror, codename, find_mirror

DEB822 = """\
Types: deb
URIs: http://security.example/debian-security
Suites: {suite}-security
Components: main

# the archive
Types: deb deb-src
URIs: http://mirror.example/debian
# a comment in between
Suites: {suite} {suite}-updates
Components: main
Signed-By: /usr/share/keyrings/k.gpg
"""
ONELINE = """\
# deb http://old.example/debian {suite} main
deb-src http://source.example/debian {suite} main
deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian {suite} main
"""


def configured(folder: Path, name: str, text: str) -> Path:
    """An /etc/apt with one file of sources."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(suite=codename()))
    return folder


def test_deb822(tmp_path: Path) -> None:
    """The stanza of the main suite, with its keyring."""
    etc = configured(tmp_path, "sources.list.d/d.sources", DEB822)
    assert find_mirror(etc) == Mirror("http://mirror.example/debian",
                                      "/usr/share/keyrings/k.gpg", None)


def test_oneline(tmp_path: Path) -> None:
    """The binary line, with its options."""
    etc = configured(tmp_path, "sources.list", ONELINE)
    assert find_mirror(etc) == Mirror("http://one.example/debian", "/k.gpg",
                                      None)


def test_disabled(tmp_path: Path) -> None:
    """A stanza that is switched off does not count."""
    text = DEB822.replace("# the archive", "Enabled: no")
    etc = configured(tmp_path, "sources.list.d/d.sources", text)
    with pytest.raises(LabError, match="no apt source"):
        find_mirror(etc)


def test_key_in_the_file(tmp_path: Path) -> None:
    """A key written into the stanza comes along whole."""
    text = DEB822.replace("/usr/share/keyrings/k.gpg",
                          "\n -----BEGIN\n .\n abc")
    etc = configured(tmp_path, "sources.list.d/d.sources", text)
    stanza = find_mirror(etc).stanza("deb-src", "sid")
    assert "Signed-By: \n -----BEGIN\n .\n abc\n" in stanza
    assert "Suites: sid\n" in stanza and "Types: deb-src\n" in stanza
