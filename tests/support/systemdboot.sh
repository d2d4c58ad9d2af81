#!/usr/bin/env bash
# Become systemd as PID 1, with the units of a folder and nothing of this host's own: no other unit is known, and /etc, /run, /tmp and /var/lib are copies.
#
#   unshare --fork --pid --mount --cgroup --uts --net --ipc --mount-proc tests/support/systemdboot.sh FOLDER TARGET CHECKOUT
#
# FOLDER has units/, and etc/ for what goes to /etc. CHECKOUT is where calicopy runs from; it stays when it is in /tmp.
set -euo pipefail
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/etc /mnt/run /mnt/lib /mnt/run/lock
cp -a /etc/. /mnt/etc
cp -a "$1/etc/." /mnt/etc
cp -a "$1/units" /mnt/run/units
rm -rf /mnt/etc/systemd/system.conf.d
printf '[Manager]\nDefaultStandardOutput=null\n' >/mnt/etc/systemd/system.conf
mount --bind /mnt/etc /etc
mount --bind /mnt/lib /var/lib
mount --bind /mnt/run /run
mkdir /mnt/checkout
mount --bind "$3" /mnt/checkout
mount -t tmpfs none /tmp
if [ ! -d "$3" ]; then
    mkdir -p "$3"
    mount --bind /mnt/checkout "$3"
fi
mount -t cgroup2 none /sys/fs/cgroup
mount --make-rshared / # as a host has it: mounts made later are seen by units
ip link set lo up
ip link add eth0 type veth peer name eth1
ip address add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set eth1 up
export container=test SYSTEMD_UNIT_PATH=/run/units
exec /lib/systemd/systemd --system --unit="$2" --log-target=null --show-status=no
