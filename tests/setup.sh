#!/bin/sh
# Installs from apt what is missing of the packages that lists name.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: sh tests/setup.sh [LIST|PACKAGE ...]
#
# A LIST is a file with one package a line and comments after '#'; without
# any argument it is packages.txt beside this script.  Does nothing, and asks
# nobody for rights, when all are there.  The package index is fetched only
# when the packages cannot be had with the one that is there.  Apt's sources
# stay as they are.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- "$here/packages.txt"

named() {
    for arg in "$@"; do
        if [ -f "$arg" ]; then
            sed 's/#.*//' "$arg"
        else
            echo "$arg"
        fi
    done | tr -s ' \t' '\n' | sed '/^$/d' | sort -u
}

missing() {
    for package in $(named "$@"); do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" \
            2>/dev/null) || state=
        [ "$state" = installed ] || echo "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        -o Acquire::Retries=3 "$@" </dev/null
}

if ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here: tests run on Debian (12 or later)" >&2
    exit 1
fi
wanted=$(missing "$@")
[ -n "$wanted" ] || exit 0
# One package a word from here on.
# shellcheck disable=SC2086
set -- $wanted
echo "setup: installing $# packages:" "$@"
if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "setup: neither root nor sudo; as root, run:" >&2
    echo "  apt-get update && apt-get install --no-install-recommends" \
        "$@" >&2
    exit 1
fi
if ! apt install --no-install-recommends "$@"; then
    echo "setup: fetching the package index"
    apt update
    apt install --no-install-recommends "$@"
fi
