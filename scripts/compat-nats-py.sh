#!/usr/bin/env bash
# nats-py's own core tests, with nats-server 2.15.1 and then with ringbus standing in as
# `nats-server` on PATH. Needs the ports that those tests name. Further arguments go to pytest.
# COMPAT_SERVERS=ringbus leaves the reference out.
source "$(dirname "$0")/lib/common.sh"

version=2.10.0 # the newest whose source package has its tests
home=$tools/nats-py
certs=$home/certs
# Modules that need neither JetStream nor websocket; classes that need routes, or keys that the
# package leaves out, are skipped with the reason.
modules=(test_client.py test_client_nkeys.py test_client_async_await.py test_client_v2.py
  test_micro_service.py test_parser.py test_nuid.py)
ports=(4222 4223 4224 4225 4555 8222 8223 8224 8225 8555)

# An authority, a server and a client it vouches for.
make_certificates() {
  need openssl "install it (Debian: apt-get install openssl)"
  rm -rf "$certs" && mkdir -p "$certs"
  (
    cd "$certs"
    local key=(-newkey rsa:2048 -nodes) who
    openssl req -x509 "${key[@]}" -keyout ca-key.pem -out ca.pem -days 3650 -subj "/CN=tests"
    printf '%s\n' "subjectAltName=IP:127.0.0.1,DNS:localhost" "basicConstraints=CA:FALSE" \
      "extendedKeyUsage=serverAuth,clientAuth" >extensions
    for who in server client; do
      openssl req "${key[@]}" -keyout $who-key.pem -out $who.csr -subj "/CN=localhost"
      openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 3650 \
        -extfile extensions -out $who-cert.pem
    done
    [ -s server-cert.pem ] && [ -s client-cert.pem ]
  ) 2>"$home/openssl.log" || { cat "$home/openssl.log" >&2 && return 1; }
}

install() {
  [ -e "$home/ready-$version-tls" ] && return
  need python3 "install it (Debian: apt-get install python3 python3-venv)"
  rm -rf "$home" && mkdir -p "$home"
  python3 -m venv "$home/venv"
  local pip=("$home/venv/bin/pip" --quiet --disable-pip-version-check)
  "${pip[@]}" install setuptools wheel pytest "nats-py==$version" aiohttp nkeys
  "${pip[@]}" download --no-deps --no-build-isolation --no-binary :all: -d "$home" \
    "nats-py==$version"
  tar xzf "$home"/nats?py-$version.tar.gz -C "$home"
  mv "$home"/nats?py-$version "$home/source"
  # The library under its own name comes from the venv; beside the tests it would hide nothing but
  # confuse.
  rm -rf "$home/source/nats"
  make_certificates
  touch "$home/source/tests/__init__.py" "$home/ready-$version-tls"
}

free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null ||
    die "port $1 is in use; nats-py's tests need it"
}

# Runs the suite with a `nats-server` on PATH that is this program. What fails is run once more by itself:
# some of its tests give either server a second, on a machine that may have other things to do.
run() {
  local server=$1 shim=$home/shim
  shift
  rm -rf "$shim" && mkdir -p "$shim"
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$server" >"$shim/nats-server"
  chmod +x "$shim/nats-server"
  echo "== nats-py $version against $server"
  local pytest=("$home/venv/bin/python" -m pytest -q -rs -o "cache_dir=$home/cache" -W ignore)
  rm -rf "$home/cache"
  (
    cd "$home/source"
    export PATH=$shim:$PATH NATS_PY_CERTS=$certs NATS_SERVER_VERSION=main
    "${pytest[@]}" "${modules[@]/#/tests/}" "$@" || {
      echo "== what failed, once more"
      "${pytest[@]}" --last-failed "${modules[@]/#/tests/}" "$@"
    }
  )
}

install
cp "$root/scripts/lib/nats_py_utils.py" "$home/source/tests/utils.py"
for port in "${ports[@]}"; do free "$port"; done
servers=${COMPAT_SERVERS:-reference ringbus}
for name in $servers; do
  case $name in
    reference) run "$(reference_server)" "$@" ;;
    ringbus) run "$(server_under_test)" "$@" ;;
    *) die "COMPAT_SERVERS takes reference and ringbus, not $name" ;;
  esac
done
