# Shared by scripts; sourced, not run.
# RINGBUS_BIN names the server under test (else the release build, else the debug build).

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$root/.tools

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# Is one of `words` like this pattern?
has() {
  local word
  for word in "${words[@]}"; do
    case $word in $1) return 0 ;; esac
  done
  return 1
}

need() {
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing; $2"
}

# The path of the server under test.
server_under_test() {
  local built=${CARGO_TARGET_DIR:-$root/target} path
  for path in "${RINGBUS_BIN:-}" "$built/release/ringbus" "$built/debug/ringbus"; do
    if [ -n "$path" ] && [ -x "$path" ]; then
      echo "$path"
      return
    fi
  done
  die "no ringbus to test: build it (cargo build --release) or set RINGBUS_BIN"
}

# The path of nats-server 2.15.1, installed under .tools if need be.
reference_server() {
  if [ -n "${NATS_SERVER_BIN:-}" ]; then
    echo "$NATS_SERVER_BIN"
  else
    "$root/scripts/install-nats-server.sh"
  fi
}

# ringbus's own flags are for it alone.
is_reference() {
  case $(basename "$1") in nats-server*) return 0 ;; *) return 1 ;; esac
}
