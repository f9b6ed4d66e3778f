#!/usr/bin/env bash
# async-nats's own tests of core NATS, users, nkeys, tokens and TLS, with nats-server 2.15.1 and then
# with ringbus standing in as `nats-server` on PATH. What fails with nats-server may fail with
# ringbus; nothing else may. COMPAT_SERVERS=ringbus leaves the reference out. Further arguments go to
# the tests.
source "$(dirname "$0")/lib/common.sh"

version=0.51.0
home=$tools/async-nats
# These need servers that know of each other, and these a server on the Internet.
skip=(--skip server_pool_contains_discovered_servers --skip set_server_pool_marks_all_as_explicit
  --skip custom_tls_client --skip tls_with_native_certs --skip connect_domain)
tests=(client_tests jwt_tests nkey_tests server_pool_tests server_pool_parity_tests tls_tests)

install() {
  need cargo "install Rust from https://rustup.rs"
  mkdir -p "$home"
  cp "$root/scripts/lib/async_nats/manifest.toml" "$home/Cargo.toml"
  cp "$root/scripts/lib/async_nats/nats_server.rs" "$home/"
  cp "$root/scripts/lib/async_nats/lock.toml" "$home/Cargo.lock"
  mkdir -p "$home/tests"
  local test
  for test in "${tests[@]}"; do [ -e "$home/tests/$test.rs" ] || : >"$home/tests/$test.rs"; done
  local source host
  host=$(rustc -vV | sed -n 's/^host: //p')
  source=$(cd "$home" && cargo metadata --locked --format-version 1 --filter-platform "$host" |
    grep -o "\"[^\"]*/async-nats-$version/Cargo.toml\"" | head -1 | tr -d '"')
  [ -n "$source" ] || die "cargo does not know where async-nats $version is"
  cp -R "$(dirname "$source")/tests/." "$home/tests"
  (cd "$home" && CARGO_TARGET_DIR=$home/target cargo test --locked --quiet --no-run)
}

# The tests, and how each ended, with a `nats-server` on PATH that is this program.
run() {
  local server=$1 outcome=$2 shim=$home/shim
  shift 2
  rm -rf "$shim" && mkdir -p "$shim"
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$server" >"$shim/nats-server"
  chmod +x "$shim/nats-server"
  echo "== async-nats $version against $server"
  (cd "$home" && PATH=$shim:$PATH CARGO_TARGET_DIR=$home/target timeout 600 \
    cargo test --locked --no-fail-fast -- "${skip[@]}" "$@") >"$outcome.log" 2>&1 || true
  grep -E '^test .* \.\.\. (ok|FAILED|ignored)' "$outcome.log" | sort >"$outcome" || true
  grep '^test result:' "$outcome.log" || { tail -50 "$outcome.log"; die "the tests did not run"; }
}

install
for name in ${COMPAT_SERVERS:-reference ringbus}; do
  case $name in
    reference) run "$(reference_server)" "$home/reference" "$@" ;;
    ringbus) run "$(server_under_test)" "$home/ringbus" "$@" ;;
    *) die "COMPAT_SERVERS takes reference and ringbus, not $name" ;;
  esac
done
if [ -z "${COMPAT_SERVERS:-}" ]; then
  # A test that is ok with nats-server and not with ringbus.
  worse=$(grep -F '... ok' "$home/reference" | grep -vxFf "$home/ringbus" || true)
  [ -z "$worse" ] || { cat "$home/ringbus.log"; die "worse than with nats-server: $worse"; }
fi
