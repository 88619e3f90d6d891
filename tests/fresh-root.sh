#!/bin/sh
# Tries the README's commands as a new user would: on a fresh Debian.
# SPDX-License-Identifier: GPL-2.0-or-later
#
# usage: sh tests/fresh-root.sh [--lab] [--user] [FOLDER]
#
# Makes a minimal Debian root with debootstrap (kept as FOLDER/root.tar, so
# that the next call is quick), unpacks what HEAD holds into it and runs
# tests/demo.sh and tests/run.sh there; with --lab, `tests/run.sh --lab`; with
# --user, as a user who has sudo, and with apt's index not fetched yet.
# Debian's mirror is the one that this machine's apt uses.  Must be root.
#
# Everything happens in a mount and a pid namespace of its own: however this
# ends, no mount and no process stays behind.
set -eu

suite=bookworm

usage() {
    sed -n 's/^# usage: /usage: /p' "$0" >&2
    exit 64
}

test_arguments=
become=
folder=
for arg in "$@"; do
    case $arg in
        --lab) test_arguments=--lab ;;
        --user) become="setpriv --reuid 1000 --regid 1000 --init-groups" ;;
        -*) usage ;;
        *) [ -z "$folder" ] || usage; folder=$arg ;;
    esac
done
if [ "$(id -u)" != 0 ]; then
    echo "fresh-root: debootstrap and chroot need root: use sudo" >&2
    exit 1
fi

cd "$(dirname "$0")/.."
sh tests/setup.sh debootstrap
own=
if [ -z "$folder" ]; then
    own=$(mktemp -d)
    folder=$own
fi
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root

clean_up() {
    rm -rf --one-file-system "$root" "$folder/root.tar.new"
    [ -z "$own" ] || rm -rf "$own"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n== %s\n' "$*"; }

make_tar() {
    mirror=$(/usr/bin/python3 -c '
import sys
sys.path.insert(0, "tests/lab")
import labapt
print(labapt.find_mirror().uri)')
    say "debootstrap $suite"
    unshare --mount --pid --fork --kill-child \
        debootstrap --variant=minbase "$suite" "$root" "$mirror" \
        >"$folder/debootstrap.log" 2>&1 || {
        tail -n 20 "$folder/debootstrap.log"
        exit 1
    }
    tar -C "$root" -cf "$folder/root.tar.new" .
    mv "$folder/root.tar.new" "$folder/root.tar"
}

# What the root takes over: how to reach the mirror and whether its index may
# be an old one (a frozen mirror), and this checkout.
furnish() {
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    apt-config dump |
        grep -E '^Acquire::(https?|Check-Valid-Until|Check-Date)[: ]' \
            >"$root/etc/apt/apt.conf.d/90mirror" || :
    mkdir "$root/qhang"
    git archive HEAD | tar -C "$root/qhang" -xf -
}

# in_root COMMAND ...: with /proc, /dev and /tmp of its own; a bare
# environment, as after a login.
in_root() {
    # The script's variables are the inner shell's.
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -euc '
        root=$1
        shift
        mount --make-rprivate /
        mount -t proc proc "$root/proc"
        mount -t sysfs -o ro sysfs "$root/sys"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c "cd /qhang && exec \"\$@\"" sh "$@"
    ' sh "$root" "$@" </dev/null
}

add_user() {
    say "adding a user with sudo"
    in_root apt-get -q -y install --no-install-recommends sudo >/dev/null
    in_root sh -c '
        useradd --create-home --uid 1000 tester
        echo "tester ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/tester
        chown -R tester: /qhang
        rm -rf /var/lib/apt/lists'
}

packages() {
    chroot "$root" dpkg-query -W | wc -l
}

# timed COMMAND ...: runs it in the root and tells how long it took.
timed() {
    say "$*"
    began=$(date +%s)
    had=$(packages)
    # shellcheck disable=SC2086
    in_root $become "$@" || {
        echo "fresh-root: this failed on a fresh $suite: $*" >&2
        exit 1
    }
    say "$*: $(($(date +%s) - began)) s," \
        "$(($(packages) - had)) packages installed"
}

rm -rf --one-file-system "$root"
mkdir "$root"
if [ -f "$folder/root.tar" ]; then
    tar -C "$root" -xf "$folder/root.tar"
else
    make_tar
fi
furnish
[ -z "$become" ] || add_user
timed sh tests/demo.sh
# shellcheck disable=SC2086
timed sh tests/run.sh $test_arguments
