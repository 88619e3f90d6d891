#!/usr/bin/python3
"""Builds the lab's QEMUs: faulty, half repaired and repaired, with symbols.

SPDX-License-Identifier: GPL-2.0-or-later

One unpacked Debian source serves all builds; it is brought into the state
that a build needs (pristine, or with parts of cfix/qemu applied) and only
what changed is compiled again.  Binaries are copied out to bin/NAME/; the
stamp beside them is written last, so half a build is never taken for one.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Optional, Sequence
from contextlib import contextmanager

from labapt import LabError, PrivateApt, SourceMissing

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
CFIX = CHECKOUT / "cfix/qemu"
FAULTY = HERE / "faulty"

WANTED = "1:10.2.2+ds-1"
SUITE = "sid"
TOOLS_SUITE = "bookworm-backports"
TOOLS_FOLDER = "meson"

EXIT_FAILED = 1
EXIT_MISSING = 77

SOURCE_STAMP = "source.json"
MACROS = "scripts/cocci-macro-file.h"
SOURCES = ("block/graph-lock.c", "util/qemu-coroutine-sleep.c")
DAEMON = ("storage-daemon/qemu-storage-daemon",)
TOOLS = DAEMON + ("qemu-img", "qemu-io")
SYSTEM = ("qemu-system-x86_64",)

CONFIGURE = (
    "--python=/usr/bin/python3", "--without-default-features",
    "--enable-tools", "--enable-system", "--enable-tcg",
    "--target-list=x86_64-softmmu", "--enable-debug-info",
    "--enable-linux-aio", "--enable-linux-io-uring", "--disable-docs",
    "--disable-werror", "--disable-download", "--disable-install-blobs",
)


# The file that each part consists of, for the stamps.
TEXTS = {
    "graph": CFIX / "graph-kick.cocci",
    "sleep": CFIX / SOURCES[1],
    "faulty-graph": FAULTY / "graph-unkick.cocci",
    "faulty-sleep": FAULTY / Path(SOURCES[1]).name,
}


@dataclass(frozen=True)
class Flavour:
    """A compiler and its switches: one build folder below obj/."""

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Build:
    """One set of binaries: a state of the source, built by one flavour."""

    name: str
    parts: tuple[str, ...]
    targets: tuple[str, ...]
    flavour: Flavour = field(default=Flavour("gcc"))
    folder: str = ""

    @property
    def where(self) -> str:
        """The folder below bin/ that the binaries go to."""
        return self.folder or self.name


CLANG = Flavour("clang", ("--cc=clang",))
DEBUG = Flavour("O0", ("--enable-debug",))
# Other code of the same source, for `qhang verify`.
OTHERS = (CLANG, DEBUG, Flavour("O3", ("--extra-cflags=-O3",)),
          Flavour("lto", ("--enable-lto",)),
          Flavour("clang-O0", ("--cc=clang", "--enable-debug")),
          Flavour("clang-O3", ("--cc=clang", "--extra-cflags=-O3")))
STATES: dict[str, tuple[str, ...]] = {
    "stock": (), "graphfix": ("graph",), "fixed": ("graph", "sleep")}

BUILDS = {build.name: build for build in (
    Build("stock", (), TOOLS),
    Build("graphfix", ("graph",), TOOLS),
    Build("fixed", ("graph", "sleep"), TOOLS),
    Build("system", ("graph",), SYSTEM, folder="graphfix"),
    Build("system-stock", (), SYSTEM, folder="stock"),
    Build("clang", ("graph",), TOOLS, CLANG),
    Build("clang-system", ("graph",), SYSTEM, CLANG, folder="clang"),
    Build("clang-stock", (), DAEMON, CLANG),
    Build("O0", ("graph",), TOOLS, DEBUG),
    Build("O0-stock", (), DAEMON, DEBUG),
    # How stock and graphfix are made where only a repaired source is to be
    # had; here the repairs are put in first.
    Build("stock-again", ("graph", "sleep", "faulty-graph", "faulty-sleep"),
          DAEMON),
    Build("graphfix-again", ("graph", "sleep", "faulty-sleep"), DAEMON),
    *(Build(f"verify-{flavour.name}-{name}", parts, DAEMON, flavour)
      for flavour in OTHERS for name, parts in STATES.items()),
)}
VERIFIED = tuple(name for name in BUILDS if name.startswith("verify-"))
FIRST = ("stock", "graphfix", "fixed")


def lab_folder() -> Path:
    """The lab: QHANG_LAB, or the folder lab/ of the checkout."""
    return Path(os.environ.get("QHANG_LAB") or CHECKOUT / "lab").absolute()


def say(text: str) -> None:
    """Progress, for people."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def locked(lab: Path) -> Iterator[None]:
    """One builder at a time; a second waits for the first."""
    lab.mkdir(parents=True, exist_ok=True)
    with (lab / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build holds {lab}/.lock; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(lab: Path, argv: Sequence[str], cwd: Path) -> None:
    """Runs one build step; its output goes to lab/build.log."""
    env = dict(os.environ)
    meson = lab / TOOLS_FOLDER / "usr/lib/python3/dist-packages"
    env["PYTHONPATH"] = str(meson)
    env["LC_ALL"] = "C.UTF-8"
    log = lab / "build.log"
    with log.open("ab") as out:
        out.write(f"\n$ cd {cwd} && {' '.join(argv)}\n".encode())
        out.flush()
        done = subprocess.run(argv, cwd=cwd, env=env, check=False,
                              stdin=subprocess.DEVNULL, stdout=out,
                              stderr=subprocess.STDOUT)
    if done.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-25:]
        raise LabError("\n".join([f"{argv[0]} failed with status "
                                  f"{done.returncode}; end of {log}:", *tail]))


class Source:
    """The unpacked QEMU source and the state that it is in."""

    def __init__(self, lab: Path) -> None:
        self.lab = lab
        self.stamp = lab / SOURCE_STAMP
        self.tree = Path()
        self.version = ""
        self.faulty_as_shipped = True

    def fetch(self) -> None:
        """Fetches and unpacks the source once; later runs find the stamp."""
        if self.stamp.is_file():
            told = json.loads(self.stamp.read_text())
            self.tree = self.lab / told["tree"]
            self.version = told["version"]
            self.faulty_as_shipped = told["faulty_as_shipped"]
            if self.tree.is_dir():
                return
        apt = PrivateApt(self.lab / "apt" / SUITE, "deb-src", SUITE)
        say(f"fetching the index of {SUITE}")
        apt.update()
        self._take_first_that_serves(apt)
        self._keep_originals()
        self.stamp.write_text(json.dumps({
            "tree": str(self.tree.relative_to(self.lab)),
            "version": self.version,
            "faulty_as_shipped": self.faulty_as_shipped}))

    def _take_first_that_serves(self, apt: PrivateApt) -> None:
        """The wanted version, else the newest that has the cache cleaner.

        A newer one ships with both repairs: bring_into() puts the faults
        back, with the pieces in faulty/.

        What the archive can deliver is decided by the download: a version
        may stand in the index with its files gone.
        """
        others = [v for v in apt.source_versions("qemu") if v != WANTED]
        reasons = []
        for version in (WANTED, *others):
            into = self.lab / "src"
            shutil.rmtree(into, ignore_errors=True)
            say(f"fetching the source of qemu {version}")
            try:
                tree = apt.source("qemu", version, into)
            except SourceMissing as missing:
                reasons.append(str(missing))
                continue
            except LabError as error:
                if "Unable to find a source package" in str(error):
                    reasons.append(f"{version} is not in the index")
                    continue
                raise
            qcow2 = (tree / "block/qcow2.c").read_text(errors="replace")
            if "cache_clean_timer_wake" in qcow2:
                self.tree, self.version = tree, version
                self.faulty_as_shipped = version == WANTED
                return
            reasons.append(f"{version} has no coroutine cache cleaner")
        raise SourceMissing("no usable QEMU source in the archive: "
                            + "; ".join(reasons))

    def _keep_originals(self) -> None:
        for name in SOURCES:
            kept = self.lab / "orig" / name
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.tree / name, kept)

    def bring_into(self, parts: Sequence[str]) -> None:
        """Faulty, then `parts` applied; what is unchanged is not touched.

        Worked out beside the tree, so that a file's time changes only when
        its content does, and ninja compiles no more than that.
        """
        with scratch(self.lab) as copy:
            for name in (*SOURCES, MACROS):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                kept = self.lab / "orig" / name
                origin = kept if kept.is_file() else self.tree / name
                shutil.copyfile(origin, copy / name)
            if not self.faulty_as_shipped:
                parts = ("faulty-graph", "faulty-sleep", *parts)
            for part in parts:
                self._apply(copy, part)
            for name in SOURCES:
                new = (copy / name).read_bytes()
                if (self.tree / name).read_bytes() != new:
                    (self.tree / name).write_bytes(new)

    def _apply(self, copy: Path, part: str) -> None:
        """One repair of cfix/qemu, or one of the faults put back."""
        graph, sleep = SOURCES
        if part == "faulty-graph":
            run(self.lab, ["spatch", "--very-quiet", "--in-place",
                           "--macro-file", str(copy / MACROS), "--sp-file",
                           str(FAULTY / "graph-unkick.cocci"),
                           str(copy / graph)], copy)
        elif part == "faulty-sleep":
            shutil.copyfile(FAULTY / Path(sleep).name, copy / sleep)
        else:
            run(self.lab, [sys.executable, str(CFIX / "repair.py"), "apply",
                           str(copy), "--part", part], copy)


@contextmanager
def scratch(lab: Path) -> Iterator[Path]:
    """A folder of the lab for the length of a with statement."""
    folder = lab / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch_tool(lab: Path, package: str = "meson") -> None:
    """A Python package that QEMU's build wants newer than the machine has it,
    or at all: unpacked where run() finds it, not set up."""
    stamp = lab / TOOLS_FOLDER / f".stamp-{package}"
    if stamp.is_file():
        return
    say(f"fetching {package} from {TOOLS_SUITE}")
    apt = PrivateApt(lab / "apt" / TOOLS_SUITE, "deb", TOOLS_SUITE)
    apt.update()
    apt.unpack(package, lab / TOOLS_FOLDER)
    stamp.touch()


def configure(source: Source, flavour: Flavour) -> Path:
    """The flavour's build folder, configured; re-used when it stands."""
    folder = source.lab / "obj" / flavour.name
    stamp = folder / ".configured"
    told = " ".join((source.version, *CONFIGURE, *flavour.options))
    if stamp.is_file() and stamp.read_text() == told:
        return folder
    say(f"configuring {flavour.name}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    run(source.lab, [str(source.tree / "configure"), *CONFIGURE,
                     *flavour.options], folder)
    stamp.write_text(told)
    return folder


def recipe(build: Build, version: str) -> str:
    """What a stamp must say for its binaries to be the ones wanted.

    Holds the texts of the changes: an edited repair is built anew.
    """
    texts = [version, *build.parts, *build.targets, *build.flavour.options]
    texts += [TEXTS[part].read_text() for part in build.parts]
    return json.dumps(texts)


def stamp_of(lab: Path, build: Build) -> Path:
    """Written when a build's binaries are all in place."""
    return lab / "bin" / build.where / f".stamp-{build.name}"


def stand(lab: Path, names: Sequence[str]) -> bool:
    """Whether every one of these builds is there, as wanted today.

    Needs no lock: stamps are written last.
    """
    try:
        version = json.loads((lab / SOURCE_STAMP).read_text())["version"]
        return all(stamp_of(lab, BUILDS[name]).read_text()
                   == recipe(BUILDS[name], version) for name in names)
    except FileNotFoundError:
        return False


def make(source: Source, build: Build) -> bool:
    """Builds one and copies its binaries out; False when they stood."""
    if stand(source.lab, [build.name]):
        return False
    folder = source.lab / "bin" / build.where
    stamp = stamp_of(source.lab, build)
    told = recipe(build, source.version)
    started = time.monotonic()
    stamp.unlink(missing_ok=True)
    objects = configure(source, build.flavour)
    source.bring_into(build.parts)
    say(f"building {build.name}")
    jobs = os.cpu_count() or 1
    run(source.lab, ["ninja", f"-j{jobs}", *build.targets], objects)
    folder.mkdir(parents=True, exist_ok=True)
    for target in build.targets:
        name = Path(target).name
        # A running QEMU keeps the old file: it must not be written over.
        shutil.copy2(objects / target, folder / f".{name}.new")
        os.replace(folder / f".{name}.new", folder / name)
    stamp.write_text(told)
    say(f"built {build.name} in {time.monotonic() - started:.0f} s")
    return True


def compiling(lab: Path, name: str, source: Path,
              output: Path) -> tuple[list[str], Path]:
    """How the gcc build compiles the tree's file `name`, and in which folder.

    The command has `source` and `output` in place of its own.
    """
    database = lab / "obj" / Flavour("gcc").name / "compile_commands.json"
    told = [one for one in json.loads(database.read_text())
            if one["file"].endswith(f"/{name}")]
    if len(told) != 1:
        raise LabError(f"{database} has {name} {len(told)} times")
    argv = shlex.split(told[0]["command"])
    for option, value in (("-o", output), ("-MF", "/dev/null"),
                          ("-c", source)):
        argv[argv.index(option) + 1] = str(value)
    return argv, Path(told[0]["directory"])


def disk_bytes(folder: Path) -> int:
    """Bytes that a folder takes on disk."""
    total = 0
    for base, _, files in os.walk(folder):
        for name in files:
            total += os.lstat(os.path.join(base, name)).st_blocks * 512
    return total


def revision() -> str:
    """The commit that is measured, with a mark when files differ."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"],
                          cwd=CHECKOUT, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.strip() or "unknown"


def ensure(names: Sequence[str], lab: Optional[Path] = None) -> Path:
    """Makes sure that the builds `names` stand; returns the lab's folder.

    Raises SourceMissing when the archive does not have the source, LabError
    when something that should have worked did not.
    """
    lab = lab or lab_folder()
    if stand(lab, names):
        return lab
    started = time.monotonic()
    with locked(lab):
        source = Source(lab)
        source.fetch()
        fetch_tool(lab)
        made = [name for name in names if make(source, BUILDS[name])]
    if made:
        size = disk_bytes(lab) / 2**30
        say(f"{', '.join(made)} took {time.monotonic() - started:.0f} s; "
            f"{lab} takes {size:.1f} GiB")
    return lab


def main() -> int:
    """Command line: 0 built, 77 the archive lacks the source, 1 failure."""
    parser = argparse.ArgumentParser(
        description="Builds the lab's QEMUs into QHANG_LAB (default: lab/ in "
                    "the checkout).",
        epilog="example: tests/lab/build.py stock graphfix fixed; status 77 "
               "when the archive does not have the source any more")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="which: " + ", ".join(BUILDS)
                        + "; default: " + " ".join(FIRST))
    parser.add_argument("--system", action="store_true",
                        help="also the system emulator, graphfix")
    parser.add_argument("--clang", action="store_true",
                        help="also graphfix by clang -O2, with the system "
                        "emulator")
    parser.add_argument("--O0", action="store_true",
                        help="also graphfix with --enable-debug")
    args = parser.parse_args()
    names = list(args.names) or list(FIRST)
    names += ["system"] * args.system
    names += ["clang", "clang-system"] * args.clang
    names += ["O0"] * args.O0
    unknown = [name for name in names if name not in BUILDS]
    if unknown:
        parser.error(f"no such build: {', '.join(unknown)}")
    try:
        print(ensure(names) / "bin")
    except SourceMissing as missing:
        print(f"lab: skipped: {missing}", file=sys.stderr)
        return EXIT_MISSING
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
