#!/bin/sh
# The init of a User Mode Linux guest that runs one command of this project. tests/uml/run.py starts it with:
#   PROJECT  the checkout            MODULES  kernel modules to load
#   SHARE    a directory of the host that the guest may write: exit-code appears there
#   COMMAND  a shell command line, run in PROJECT
#
# The guest's root is the host's own tree, read-only, below an overlay whose upper half is a tmpfs. So every path is where
# it is on the host, everything can be written, and nothing written reaches the host but what goes into SHARE.
set -u
stage=/mnt

power_off() {
    echo o >/proc/sysrq-trigger
    sleep 30 # the guest ends meanwhile; should init ever return, the kernel panics, which ends the guest as well
}
fail() {
    echo "init: $*" >&2
    power_off
}

mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs $stage || fail "no tmpfs on $stage"
mkdir $stage/upper $stage/work $stage/root $stage/modules
# modprobe wants the modules in a root of their own: they are the guest's, in /usr/lib/uml.
release=$(uname -r)
mkdir -p "$stage/modules/lib/modules/$release"
mount --bind "/usr/lib/uml/modules/$release" "$stage/modules/lib/modules/$release" || fail "no modules of $release"
# shellcheck disable=SC2086  # a list of module names
modprobe -d $stage/modules -a overlay $MODULES || fail "some modules are missing (wanted: overlay $MODULES)"
mount -t overlay -o "lowerdir=/,upperdir=$stage/upper,workdir=$stage/work" overlay $stage/root || fail "no overlay of /"

cd $stage/root || fail "no new root"
mkdir -p old
pivot_root . old || fail "pivot_root"
cd /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for each in /dev/shm /run /tmp /var/tmp; do
    case "$PROJECT/" in "$each"/*) continue ;; esac # a checkout below /tmp must stay visible
    mount -t tmpfs tmpfs $each
done
ln -sf /proc/self/fd /dev/fd
mkdir -p /run/netns /run/lock
mount -t hostfs -o "$SHARE" hostfs "$SHARE" || fail "cannot share $SHARE"
umount -l /old
ip link set lo up

cd "$PROJECT" || fail "no $PROJECT"
setsid sh -c "$COMMAND" </dev/null
echo $? >"$SHARE/exit-code"
power_off
