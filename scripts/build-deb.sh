#!/usr/bin/env bash
# Builds a Debian package of what a release build made: scripts/build-deb.sh [directory for it]
# RINGBUS_BIN names another binary, RINGBUS_SHARE a directory with man page and completions.
set -eu -o pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
out=${1:-$target/package}
bin=${RINGBUS_BIN:-$target/release/ringbus}
command -v dpkg-deb >/dev/null || { echo "dpkg-deb is missing: apt-get install dpkg" >&2; exit 1; }
[ -x "$bin" ] || { echo "$bin is missing: make build" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
share=${RINGBUS_SHARE:-}
if [ -z "$share" ]; then
  share=$work/share
  cargo run --quiet --profile "${PROFILE:-tests}" --example documents -- "$share" >&2
fi

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
arch=$(dpkg --print-architecture)
# The same tree gives the same package.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
root=$work/root
umask 022

put() { # mode, from, to
  install -D -m "$1" "$2" "$root/$3"
}

put 755 "$bin" usr/bin/ringbus
strip --strip-unneeded "$root/usr/bin/ringbus"
put 644 configs/default.conf etc/ringbus/ringbus.conf
sed 's|/usr/local/bin/|/usr/bin/|; /^# A systemd unit/d' configs/ringbus.service >"$work/unit"
put 644 "$work/unit" usr/lib/systemd/system/ringbus.service
put 755 scripts/tune-host.sh usr/share/doc/ringbus/examples/tune-host.sh
put 644 configs/seccomp-io-uring.json usr/share/doc/ringbus/examples/seccomp-io-uring.json
gzip -9n <"$share/ringbus.8" >"$work/ringbus.8.gz"
put 644 "$work/ringbus.8.gz" usr/share/man/man8/ringbus.8.gz
put 644 "$share/ringbus.bash" usr/share/bash-completion/completions/ringbus
put 644 "$share/_ringbus" usr/share/zsh/vendor-completions/_ringbus
put 644 "$share/ringbus.fish" usr/share/fish/vendor_completions.d/ringbus.fish

doc=usr/share/doc/ringbus
cat >"$work/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ringbus

Files: *
Copyright: 2026 The ringbus authors
License: Apache-2.0
 On Debian systems, the full text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.
END
put 644 "$work/copyright" $doc/copyright
cat >"$work/changelog" <<END
ringbus ($version) unstable; urgency=medium

  * Built from the source tree.

 -- The ringbus authors <ringbus@packages.invalid>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
END
gzip -9n <"$work/changelog" >"$work/changelog.gz"
put 644 "$work/changelog.gz" $doc/changelog.gz

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<END
Package: ringbus
Version: $version
Section: net
Priority: optional
Architecture: $arch
Maintainer: The ringbus authors <ringbus@packages.invalid>
Depends: libc6 (>= 2.34), libgcc-s1, adduser
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Description: message bus that speaks NATS, one io_uring shard per core
 Takes the place of nats-server: the same protocol, command line, configuration
 file, log lines and monitoring endpoints. Needs Linux 6.1 or newer with
 io_uring allowed.
END
echo /etc/ringbus/ringbus.conf >"$root/DEBIAN/conffiles"

cat >"$root/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  # The unit runs as a user of this name; systemd would make one up at each start otherwise.
  if ! getent passwd ringbus >/dev/null; then
    adduser --system --group --quiet --home /nonexistent --no-create-home ringbus
  fi
  if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
    if [ -n "$2" ]; then deb-systemd-invoke try-restart ringbus.service >/dev/null || true; fi
  fi
fi
END
cat >"$root/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
  deb-systemd-invoke stop ringbus.service >/dev/null || true
  deb-systemd-helper disable ringbus.service >/dev/null || true
fi
END
cat >"$root/DEBIAN/postrm" <<'END'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl --system daemon-reload >/dev/null || true
fi
END
chmod 755 "$root"/DEBIAN/{postinst,prerm,postrm}
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) \
  >"$root/DEBIAN/md5sums"

mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/ringbus_${version}_$arch.deb" >&2
echo "$out/ringbus_${version}_$arch.deb"
