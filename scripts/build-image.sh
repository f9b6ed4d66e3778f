#!/usr/bin/env bash
# Builds a container image from scratch, without a container engine: an OCI layout in a tar file, for
# `skopeo copy oci-archive:…`, `podman load` or `ctr image import`. scripts/build-image.sh [file]
# RINGBUS_BIN names another binary. One without a dynamic loader goes in alone; for another, the
# libraries it names go in with it.
set -eu -o pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
out=${1:-$target/package/ringbus-image.tar}
bin=${RINGBUS_BIN:-$target/release/ringbus}
[ -x "$bin" ] || { echo "$bin is missing: make build" >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) arch=$(uname -m) ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
umask 022
install -D -m 755 "$bin" "$root/usr/bin/ringbus"
strip "$root/usr/bin/ringbus"
ln -s ringbus "$root/usr/bin/nats-server"
install -D -m 644 configs/default.conf "$root/etc/ringbus/ringbus.conf"
install -d -m 1777 "$root/tmp"
printf 'ringbus:x:65532:65532::/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'ringbus:x:65532:\n' >"$root/etc/group"
# The loader and the libraries, where the binary looks for them.
while read -r library; do
  install -D -m 755 "$(readlink -f "$library")" "$root$library"
done < <(ldd "$root/usr/bin/ringbus" 2>/dev/null | grep -o '/[^ ]*' || true)

blobs=$work/oci/blobs/sha256
mkdir -p "$blobs"
blob() { # Stores a file under its digest; says digest and size.
  local sum
  sum=$(sha256sum "$1" | cut -d' ' -f1)
  mv "$1" "$blobs/$sum"
  printf '%s %s\n' "sha256:$sum" "$(stat -c %s "$blobs/$sum")"
}

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf "$work/layer.tar" .
diff_id=sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip -9n "$work/layer.tar"
read -r layer layer_bytes < <(blob "$work/layer.tar.gz")

cat >"$work/config.json" <<END
{
  "created": "$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)", "architecture": "$arch", "os": "linux",
  "config": {
    "User": "65532:65532", "Entrypoint": ["/usr/bin/ringbus"],
    "Cmd": ["-c", "/etc/ringbus/ringbus.conf"], "ExposedPorts": { "4222/tcp": {}, "8222/tcp": {} },
    "Labels": { "org.opencontainers.image.title": "ringbus", "org.opencontainers.image.version": "$version",
      "org.opencontainers.image.licenses": "Apache-2.0" }
  },
  "rootfs": { "type": "layers", "diff_ids": ["$diff_id"] }
}
END
read -r config config_bytes < <(blob "$work/config.json")
cat >"$work/manifest.json" <<END
{
  "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
  "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": "$config", "size": $config_bytes },
  "layers": [
    { "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "$layer", "size": $layer_bytes }
  ]
}
END
read -r manifest manifest_bytes < <(blob "$work/manifest.json")
cat >"$work/oci/index.json" <<END
{
  "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "$manifest",
      "size": $manifest_bytes, "annotations": { "org.opencontainers.image.ref.name": "$version" },
      "platform": { "architecture": "$arch", "os": "linux" } }
  ]
}
END
echo '{"imageLayoutVersion": "1.0.0"}' >"$work/oci/oci-layout"
mkdir -p "$(dirname "$out")"
tar -C "$work/oci" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf "$out" .
echo "$out"
