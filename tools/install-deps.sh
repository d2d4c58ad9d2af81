#!/usr/bin/env bash
# Install the system packages that a task of the Makefile needs and the machine lacks.
#
#   tools/install-deps.sh [--list] [venv|demo|test|image]...
#
# The one list of packages is below, as the command that each is needed for: what is there already, from whatever source,
# is not asked for again. Debian 12 and newer and Ubuntu 22.04 and newer, by apt; elsewhere the missing commands are named.
# A package that this release of the distribution does not have is named, and the rest is installed all the same.
# Services of the packages (bird, frr, gobgpd, openbgpd, dockerd) are neither started nor enabled: the tests run their own.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/lib/frr
. tools/python.sh

# group, command, package
needed() {
    cat <<'LIST'
demo  ip          iproute2
demo  ping        iputils-ping
demo  nft         nftables
demo  ps          procps
demo  bird        bird2
test  ip          iproute2
test  ping        iputils-ping
test  nft         nftables
test  ps          procps
test  bird        bird2
test  zebra       frr
test  vtysh       frr
test  gobgpd      gobgpd
test  bgpctl      openbgpd
test  tcpdump     tcpdump
test  git         git
test  iperf3      iperf3
test  systemd-analyze systemd
image ip          iproute2
image nsenter     util-linux
LIST
    # tunl0: on a kernel without the module the tests run inside User Mode Linux (tests/uml/run.py).
    if ! has_ipip; then
        cat <<'LIST'
test  linux.uml   user-mode-linux
test  modprobe    kmod
test  cc          gcc
test  libc6-dev   libc6-dev
LIST
    fi
    # Without an engine that runs already, `make image` starts one by hand and makes the base image itself.
    if ! docker version >/dev/null 2>&1; then
        cat <<'LIST'
image docker      docker.io
image dockerd     docker.io
image debootstrap debootstrap
LIST
    fi
}

has_ipip() { unshare --net ip link add probe type ipip local 127.0.0.1 2>/dev/null; }

is_there() {
    case $1 in
    libc6-dev) [ -e /usr/include/stdio.h ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# What Python needs: an interpreter of 3.11 or newer that can make virtual environments.
missing_python() {
    find_python >/dev/null && return
    local version
    for version in "" 3.13 3.12 3.11; do
        if [ "$(apt_python_minor "$version")" -ge 11 ]; then
            echo "python$version python${version:-3}-venv" | sed 's/^python /python3 /'
            return
        fi
    done
    echo "python3.11 python3.11-venv"
}

# The minor version that the package python3 (or python3.N) would bring; 0 when apt has none.
apt_python_minor() {
    local candidate
    candidate=$(apt-cache policy "python${1:-3}" 2>/dev/null | sed -n 's/^ *Candidate: 3\.\([0-9]*\).*/\1/p')
    echo "${candidate:-0}"
}

services_off() {
    # apt starts a package's service unless this script says no (101: not allowed).
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
}

# Not at the next start of the machine either: only services of packages that were installed just now.
disable_services() {
    local package service
    for package in "$@"; do
        case $package in
        bird2) set -- bird.service ;;
        frr) set -- frr.service ;;
        gobgpd) set -- gobgpd.service ;;
        openbgpd) set -- openbgpd.service bgplgd.service ;;
        docker.io) set -- docker.service docker.socket containerd.service ;;
        *) continue ;;
        esac
        for service in "$@"; do
            DPKG_MAINTSCRIPT_PACKAGE=$package deb-systemd-helper disable "$service" || true
            [ ! -e "/etc/init.d/${service%.service}" ] || update-rc.d "${service%.service}" disable || true
        done
    done
}

# Whether apt can install every one of these.
all_known() {
    local package
    for package in "$@"; do
        [[ $(apt-cache policy "$package" 2>/dev/null) == *"Candidate: "[!\(]* ]] || return 1
    done
}

unknown=""
apt_install() {
    mkdir -p build/logs
    export DEBIAN_FRONTEND=noninteractive
    local log=build/logs/apt.log
    : >"$log"
    services_off
    if ! { all_known "$@" && apt-get install --yes --no-install-recommends "$@"; } </dev/null >>"$log" 2>&1; then
        echo "    (package lists are old: apt-get update)"
        if ! apt-get update </dev/null >>"$log" 2>&1; then
            echo "    (apt-get update failed for some sources: going on)"
        fi
        local package known=()
        for package in "$@"; do
            if all_known "$package"; then
                known+=("$package")
            else
                unknown="$unknown $package"
            fi
        done
        set -- "${known[@]}"
        if ! apt-get install --yes --no-install-recommends "$@" </dev/null >>"$log" 2>&1; then
            tail -n 20 "$log" >&2
            echo "install-deps: apt-get failed; all of its output is in $log" >&2
            exit 1
        fi
    fi
    disable_services "$@" >>"$log" 2>&1
}

main() {
    local list=no groups="" missing="" command package
    for argument in "$@"; do
        case $argument in
        --list) list=yes ;;
        venv | demo | test | image) groups="$groups $argument" ;;
        *) echo "usage: tools/install-deps.sh [--list] [venv|demo|test|image]..." >&2 && exit 2 ;;
        esac
    done
    # Whether the kernel has ipip, which decides about packages below, is asked by `ip`.
    if [[ $list$(id -u)$groups == no0*test* ]] && ! command -v ip >/dev/null && command -v apt-get >/dev/null; then
        echo "==> installing system packages: iproute2"
        apt_install iproute2
    fi
    while read -r group command package; do
        case " $groups " in *" $group "*) ;; *) continue ;; esac
        is_there "$command" || missing="$missing $package"
    done < <(needed)
    if ! find_python >/dev/null; then # the lists decide which Python there is
        [ "$list" = yes ] || [ -n "$(ls /var/lib/apt/lists/*Packages* 2>/dev/null)" ] || [ "$(id -u)" != 0 ] || apt-get update >/dev/null 2>&1 || true
        missing="$missing $(missing_python)"
    fi
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    if [ "$list" = yes ]; then
        echo "$missing"
    elif ! command -v apt-get >/dev/null; then
        echo "install-deps: this machine has no apt; please install what these Debian packages bring: $missing" >&2
        exit 1
    elif [ "$(id -u)" != 0 ]; then
        echo "install-deps: missing packages: $missing. Run as root, or: sudo apt-get install $missing" >&2
        exit 1
    else
        echo "==> installing system packages: $missing"
        # shellcheck disable=SC2086  # a list of package names
        apt_install $missing
        case $unknown in
        "") ;;
        *user-mode-linux*)
            echo "    This system has no package:$unknown. Its kernel lacks the module ipip, and the IPIP tests need one of"
            echo "    the two: on Ubuntu, the module comes with linux-modules-extra-$(uname -r)."
            ;;
        *) echo "    This system has no package:$unknown" ;;
        esac
        if ! find_python >/dev/null; then
            echo "install-deps: calicopy needs Python 3.11 or newer with venv, and this system's packages have none" >&2
            exit 1
        fi
    fi
}

main "$@"
