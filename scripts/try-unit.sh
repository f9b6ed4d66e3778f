#!/bin/sh
# Runs configs/ringbus.service under a real systemd, which is process 1 of a box of namespaces with a
# file system of its own: nothing of this host is changed. Start, ready, reload and stop by lame duck
# are looked at; what is seen is printed, and the end is 0 if all is as the unit promises.
#
#   try-unit.sh BINARY
#
# Needs root, systemd, unshare and nsenter (util-linux), ip (iproute2) and a kernel with cgroup2. Where
# one is missing it says so and ends with 77: skipped.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
binary=${1:?the binary to try}

skip() {
    echo "skipped: $1"
    exit 77
}
[ "$(id -u)" = 0 ] || skip "only root may make namespaces of this kind"
for program in /usr/lib/systemd/systemd unshare nsenter pivot_root ip systemctl python3; do
    command -v "$program" >/dev/null || skip "no $program here"
done
boxed="unshare --mount --pid --net --cgroup --uts --ipc --fork --kill-child"
$boxed true 2>/dev/null || skip "namespaces can't be made here"

scratch=$(mktemp -d)
mkdir "$scratch/box" "$scratch/cgroups"
cat >"$scratch/ringbus.conf" <<'END'
listen: "127.0.0.1:4222"
lame_duck_duration: "30s"
lame_duck_grace_period: "1s"
END
# With its control groups below one of its own, which can be removed as a whole.
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
group=$scratch/cgroups${own%/}/$(basename "$scratch")
unshare --mount sh -c 'mount -t cgroup2 none "$1" && mkdir "$2" && echo $$ >"$2/cgroup.procs" &&
    shift 2 && exec "$@"' box "$scratch/cgroups" "$group" \
    $boxed sh "$here/scripts/lib/systemd_box.sh" "$scratch/box" "$here/configs/ringbus.service" \
    "$scratch/ringbus.conf" "$binary" >"$scratch/console" 2>&1 &
box=$!
finish() {
    kill -KILL "$box" 2>/dev/null || true
    wait "$box" 2>/dev/null || true
    # The last of its processes may take a moment to go.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        unshare --mount sh -c 'mount -t cgroup2 none "$1" || exit 0
            [ ! -d "$2" ] || find "$2" -depth -type d -exec rmdir {} + 2>/dev/null' \
            box "$scratch/cgroups" "$group" && break
        sleep 0.2
    done
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' INT TERM

fail() {
    echo "failed: $1"
    cat "$scratch/console"
    inside systemctl status --no-pager ringbus.service || true
    inside cat /run/said || true
    exit 1
}
# Within the box.
inside() {
    nsenter --target "$init" --all -- "$@"
}
# Tries again until it works, ten seconds at most.
until_it() {
    tries=100
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}
property() {
    inside systemctl show --value --property "$1" ringbus.service
}
has_init() {
    init=$(cat "/proc/$box/task/$box/children" 2>/dev/null | tr -d ' ')
    [ -n "$init" ] && [ "$(cat "/proc/$init/comm")" = systemd ]
}
until_it has_init || skip "systemd does not start here: $(tail -n 1 "$scratch/console")"
until_it inside systemctl is-active multi-user.target || fail "systemd is not up"

timeout 30 nsenter --target "$init" --all -- systemctl start ringbus.service || fail "start"
main=$(property MainPID)
[ "$(property ActiveState)/$(property SubState)" = active/running ] || fail "it is not running"
echo "started and ready: process $main, user $(inside stat -c %u "/proc/$main")"

timeout 30 nsenter --target "$init" --all -- systemctl reload ringbus.service || fail "reload"
[ "$(property MainPID)" = "$main" ] || fail "another process after the reload"
inside grep -q 'Reloaded server configuration' /run/said || fail "nothing was reloaded"
echo "reloaded: the same process"

# A client that stays until it is sent away.
inside python3 - "$scratch" <<'END' &
import socket

bus = socket.create_connection(("127.0.0.1", 4222))
bus.sendall(b'CONNECT {"verbose":false,"protocol":1}\r\nPING\r\n')
told = b""
while True:
    more = bus.recv(65536)
    if not more:
        break
    told += more
assert b'"ldm":true' in told, told
END
client=$!
sleep 1
timeout 60 nsenter --target "$init" --all -- systemctl stop ringbus.service || fail "stop"
wait "$client" || fail "the client was not told to go"
[ "$(property ActiveState)/$(property Result)" = inactive/success ] || fail "it did not end well"
inside grep -q 'Entering lame duck mode' /run/said || fail "no lame duck mode"
echo "stopped: its client was sent away, and it ended with success"
