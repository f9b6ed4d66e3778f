#!/usr/bin/env bash
# Shows what would have to change for this host to carry many connections and much traffic; changes it
# with --apply (as root). What is applied lasts until the next boot; --print writes a sysctl.d file.
set -eu -o pipefail

mode=show
root=${TUNE_HOST_ROOT:-}
case ${1:-} in
  "") ;;
  --apply) mode=apply ;;
  --print) mode=print ;;
  *) echo "usage: $0 [--apply | --print]" >&2; exit 2 ;;
esac

changes=0
failures=0

# Key, least value wanted, why. A larger value stays.
at_least() { setting "$1" "$2" "$3" -ge; }
# The value exactly.
exactly() { setting "$1" "$2" "$3" -eq; }

setting() {
  local key=$1 wanted=$2 why=$3 test=$4
  local file=$root/proc/sys/${key//.//}
  if [ "$mode" = print ]; then
    printf '# %s\n%s = %s\n' "$why" "$key" "$wanted"
    return
  fi
  if [ ! -r "$file" ]; then
    printf '  skip    %-34s not in this kernel\n' "$key"
    return
  fi
  local now
  now=$(awk '{ print $NF }' "$file")
  if [ "$now" "$test" "$wanted" ]; then
    printf '  ok      %-34s %s\n' "$key" "$now"
    return
  fi
  change "$key" "$now" "$wanted" "$why" "$file"
}

change() {
  local key=$1 now=$2 wanted=$3 why=$4 file=$5
  changes=$((changes + 1))
  if [ "$mode" = show ]; then
    printf '  change  %-34s %s -> %s   (%s)\n' "$key" "$now" "$wanted" "$why"
  elif { printf '%s\n' "$wanted" >"$file"; } 2>/dev/null; then
    printf '  changed %-34s %s -> %s\n' "$key" "$now" "$wanted"
  else
    failures=$((failures + 1))
    printf '  FAILED  %-34s stays %s: try as root\n' "$key" "$now"
  fi
}

[ "$mode" = print ] || echo "Kernel settings:"
exactly kernel.io_uring_disabled 0 "ringbus does its I/O through io_uring"
at_least net.core.somaxconn 4096 "connections that wait to be accepted"
at_least net.ipv4.tcp_max_syn_backlog 8192 "connections being set up"
at_least net.core.rmem_max 16777216 "receive buffer of a fast connection"
at_least net.core.wmem_max 16777216 "send buffer of a fast connection"
at_least net.core.netdev_max_backlog 8192 "packets that wait for a core"
at_least fs.file-max 2097152 "one file for each connection"
at_least fs.nr_open 1048576 "the same for one process"
[ "$mode" != print ] || exit 0

echo "Frequency of the cores:"
governors=0
for file in "$root"/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do
  [ -r "$file" ] || continue
  governors=$((governors + 1))
  now=$(cat "$file")
  name=${file#"$root"/sys/devices/system/cpu/}
  if [ "$now" = performance ]; then
    printf '  ok      %-34s %s\n' "$name" "$now"
  else
    change "$name" "$now" performance "a shard that wakes finds its core awake" "$file"
  fi
done
[ "$governors" -gt 0 ] || echo "  skip    governed by the hypervisor or the firmware"

echo "Limits of the service (the systemd unit sets them; a shell needs ulimit):"
printf '  %-42s %s\n' "open files, ulimit -n (1048576 wanted)" "$(ulimit -n)"
printf '  %-42s %s\n' "locked memory, ulimit -l (unlimited wanted)" "$(ulimit -l)"

echo "Interrupts:"
echo "  Keep the network card's interrupts off the cores of the shards: stop irqbalance or tell it"
echo "  (IRQBALANCE_BANNED_CPULIST), then write a core to /proc/irq/<n>/smp_affinity_list."

case $mode in
  show) [ "$changes" -eq 0 ] && echo "Nothing to change." || echo "$changes to change: $0 --apply" ;;
  apply) [ "$failures" -eq 0 ] || { echo "$failures failed" >&2; exit 1; } ;;
esac
