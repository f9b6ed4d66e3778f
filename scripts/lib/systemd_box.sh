#!/bin/sh
# systemd alone in a box of namespaces, with one unit and nothing of this host's but a /usr that
# can't be written to. Not for use by hand: scripts/try-unit.sh starts it.
#
#   systemd_box.sh ROOT UNIT CONFIGURATION BINARY
#
# ROOT is an empty directory. Ends when systemd does.
set -eu
box=$1 unit=$2 configuration=$3 binary=$4

mount --make-rprivate /
mount -t tmpfs -o mode=755 box "$box"
cd "$box"
mkdir -p usr etc/systemd/system etc/ringbus proc sys dev run tmp var/log var/tmp root old
chmod 1777 tmp var/tmp
for name in bin sbin lib lib64; do
    [ -e "/usr/$name" ] && ln -s "usr/$name" "$name"
done
mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t tmpfs -o mode=755 binary usr/local/bin
cp "$binary" usr/local/bin/ringbus
cp "$unit" etc/systemd/system/ringbus.service
# Nothing collects what services say here.
mkdir etc/systemd/system/ringbus.service.d
printf '[Service]\nStandardOutput=append:/run/said\nStandardError=append:/run/said\n' \
    >etc/systemd/system/ringbus.service.d/said.conf
cp "$configuration" etc/ringbus/ringbus.conf
for file in ld.so.cache os-release nsswitch.conf; do
    [ -e "/etc/$file" ] && cp -L "/etc/$file" "etc/$file"
done
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'root:x:0:' >etc/group
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
for target in sysinit basic multi-user network-online shutdown umount final; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" \
        >"etc/systemd/system/$target.target"
done

mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t tmpfs -o mode=755 cgroups sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 dev dev
mkdir dev/shm dev/pts dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done

pivot_root . old
umount -l old
rmdir old
ip link set lo up
export container=box SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/nowhere
exec /usr/lib/systemd/systemd --system --unit=multi-user.target --show-status=no \
    --log-target=console
