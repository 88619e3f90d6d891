"""Fetches from the machine's Debian mirror without touching its apt set-up.

SPDX-License-Identifier: GPL-2.0-or-later

A private apt directory holds one generated source entry.  The mirror's
address, its options and its keyring come from the apt sources that are
configured on the machine, in either format (deb822 or one-line): nothing
about them is written down here.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional

SOURCES = Path("/etc/apt")


class LabError(Exception):
    """Something that should have worked did not; the text says what."""


class SourceMissing(LabError):
    """The archive does not carry what was asked for: a skip, not a failure."""


@dataclass(frozen=True)
class Mirror:
    """Where this machine gets Debian from, and how it checks signatures."""

    uri: str
    signed_by: Optional[str]
    trusted: Optional[str]

    def stanza(self, types: str, suite: str) -> str:
        """A deb822 stanza for another suite of the same mirror."""
        targets = "Sources" if types == "deb-src" else "Packages"
        lines = [f"Types: {types}", f"URIs: {self.uri}", f"Suites: {suite}",
                 "Components: main", f"Targets: {targets}"]
        if self.signed_by:
            lines.append(f"Signed-By: {self.signed_by}")
        if self.trusted:
            lines.append(f"Trusted: {self.trusted}")
        return "\n".join(lines) + "\n"


def codename(os_release: Path = Path("/etc/os-release")) -> str:
    """The running Debian's codename, e.g. "bookworm"."""
    for line in os_release.read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.split("=", 1)[1].strip().strip('"')
    raise LabError(f"{os_release} names no VERSION_CODENAME: is this Debian?")


def parse_deb822(text: str) -> Iterator[tuple[list[str], list[str], Mirror]]:
    """Yields (types, suites, mirror) for every stanza and URI of a .sources.

    Comment lines are legal inside a field; a Signed-By that spans lines (a
    key in the file itself) is kept as it stands.
    """
    for block in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        for uri in fields.get("uris", "").split():
            yield (fields.get("types", "").split(),
                   fields.get("suites", "").split(),
                   Mirror(uri, fields.get("signed-by"),
                          fields.get("trusted")))


def parse_oneline(text: str) -> Iterator[tuple[list[str], list[str], Mirror]]:
    """Yields (types, suites, mirror) for every line of a sources.list."""
    pattern = re.compile(r"^(deb(?:-src)?)\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)")
    for line in text.splitlines():
        match = pattern.match(line.strip())
        if not match:
            continue
        kind, options, uri, suite = match.groups()
        opts = dict(o.split("=", 1) for o in (options or "").split()
                    if "=" in o)
        yield ([kind], [suite], Mirror(uri, opts.get("signed-by"),
                                       opts.get("trusted")))


def find_mirror(etc: Path = SOURCES) -> Mirror:
    """The mirror that carries this release's main suite."""
    suite = codename()
    files = [etc / "sources.list"]
    files += sorted((etc / "sources.list.d").glob("*"))
    for path in files:
        if not path.is_file():
            continue
        if path.suffix == ".sources":
            entries = parse_deb822(path.read_text())
        elif path.suffix == ".list":
            entries = parse_oneline(path.read_text())
        else:
            continue
        for types, suites, mirror in entries:
            if "deb" in types and suite in suites:
                return mirror
    raise LabError(f"no apt source below {etc} carries suite {suite}: "
                   "add Debian's main archive to the apt sources")


class PrivateApt:
    """An apt of its own for one suite, in a folder of the lab."""

    def __init__(self, folder: Path, types: str, suite: str) -> None:
        """`types` is "deb" or "deb-src"; `folder` is made when missing."""
        self.folder = folder
        self.suite = suite
        self.log = folder / "apt.log"
        for sub in ("sources", "lists/partial", "cache/archives/partial",
                    "preferences"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        (folder / "sources/lab.sources").write_text(
            find_mirror().stanza(types, suite))

    def options(self) -> list[str]:
        """Redirects everything that apt reads or writes to the folder."""
        sub = self.folder
        pairs = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": sub / "sources",
            "Dir::Etc::Preferences": "/dev/null",
            "Dir::Etc::PreferencesParts": sub / "preferences",
            "Dir::State::Lists": sub / "lists",
            "Dir::Cache": sub / "cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "Acquire::http::Timeout": "60",
            "Acquire::https::Timeout": "60",
        }
        return [f"-o{key}={value}" for key, value in pairs.items()]

    def run(self, tool: str, *args: str, cwd: Optional[Path] = None) -> str:
        """Runs apt-get or apt-cache; its output goes to the log.

        Raises SourceMissing when the mirror answered that a file is not
        there, LabError for every other failure.
        """
        argv = [tool, *self.options(), *args]
        done = subprocess.run(argv, cwd=cwd or self.folder, text=True,
                              env=_c_locale(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join([tool, *args])}\n{done.stdout}\n")
        if done.returncode == 0:
            return done.stdout
        what = f"{tool} {' '.join(args)} (suite {self.suite})"
        if re.search(r"\s404\s", done.stdout):
            raise SourceMissing(f"{what}: the archive answers 404; "
                                f"see {self.log}")
        raise LabError(f"{what} failed with status {done.returncode}; "
                       f"see {self.log}")

    def update(self) -> None:
        """Fetches the suite's index."""
        self.run("apt-get", "update", "--error-on=any")

    def source_versions(self, package: str) -> list[str]:
        """Versions of a source package in the index, newest first."""
        try:
            text = self.run("apt-cache", "showsrc", "--only-source", package)
        except LabError:
            return []
        found = set(re.findall(r"^Version: (\S+)$", text, re.MULTILINE))
        return sorted(found, key=_version_key, reverse=True)

    def original(self, package: str, version: str, into: Path) -> Path:
        """Downloads and unpacks a source package's .orig tarball alone.

        The archive keeps it longer than the .dsc that names it.  No patches
        of Debian's are in it.  Returns the one folder that appeared.
        """
        into.mkdir(parents=True, exist_ok=True)
        uris = self.run("apt-get", "source", "--print-uris",
                        "--download-only", f"{package}={version}")
        wanted = re.search(
            r"^'(\S+)' (\S+\.orig\.tar\.\w+) \d+ (\S+)$", uris, re.MULTILINE)
        if not wanted:
            raise LabError(f"{package} {version} has no .orig tarball")
        uri, name, digest = wanted.groups()
        helper = "/usr/lib/apt/apt-helper"
        self.run(helper, "download-file", uri, str(into / name), digest)
        before = {p for p in into.iterdir() if p.is_dir()}
        subprocess.run(["tar", "-xf", name], cwd=into, check=True)
        (into / name).unlink()
        return _only_new_folder(into, before, name)

    def source(self, package: str, version: str, into: Path) -> Path:
        """Downloads and unpacks a source package, its patches applied.

        Returns the one folder that appeared in `into`.
        """
        into.mkdir(parents=True, exist_ok=True)
        before = {p for p in into.iterdir() if p.is_dir()}
        self.run("apt-get", "source", f"{package}={version}", cwd=into)
        return _only_new_folder(into, before, f"apt-get source {package}")

    def unpack(self, package: str, into: Path) -> None:
        """Downloads a binary package and unpacks it, without installing."""
        debs = self.folder / "debs"
        debs.mkdir(exist_ok=True)
        for old in debs.glob("*.deb"):
            old.unlink()
        self.run("apt-get", "download", package, cwd=debs)
        found = list(debs.glob("*.deb"))
        if len(found) != 1:
            raise LabError(f"apt-get download {package} left {len(found)} "
                           f"packages in {debs}")
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg", "-x", str(found[0]), str(into)], check=True)


def _only_new_folder(into: Path, before: set[Path], what: str) -> Path:
    new = [p for p in into.iterdir() if p.is_dir() and p not in before]
    if len(new) != 1:
        raise LabError(f"{what} left {len(new)} new folders in {into}, "
                       "expected one")
    return new[0]


def _c_locale() -> dict[str, str]:
    """The environment with messages in English, for the 404 above."""
    import os
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}


class _version_key:  # pylint: disable=invalid-name
    """Orders Debian versions the way dpkg does."""

    def __init__(self, version: str) -> None:
        self.version = version

    def __lt__(self, other: "_version_key") -> bool:
        return subprocess.run(
            ["dpkg", "--compare-versions", self.version, "lt",
             other.version], check=False).returncode == 0
