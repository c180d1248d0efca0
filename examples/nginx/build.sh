#!/usr/bin/env bash
# Builds an OCI archive of Debian's nginx from Debian's packages: mmdebstrap makes the tree, buildah the image. As root.
# Usage: build.sh ARCHIVE   [SUITE=bookworm]
set -euo pipefail
archive=$(realpath "${1:?where the archive goes, nginx.tar say}") suite=${SUITE:-bookworm}
for program in mmdebstrap buildah; do
    command -v "$program" >/dev/null || { echo "nginx: $program is missing: apt-get install $program" >&2; exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Only what nginx needs to run: no package manager's lists, no documentation.
mmdebstrap --quiet --mode=root --variant=essential --include=nginx-light \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook='ln -sf /dev/stdout "$1/var/log/nginx/access.log"' \
    --customize-hook='ln -sf /dev/stderr "$1/var/log/nginx/error.log"' \
    "$suite" "$work/root.tar"

# In a mount namespace of its own, where a mixed control group hierarchy that confuses buildah can be put aside.
export work archive
unshare --mount bash -euo pipefail -c '
    umount /sys/fs/cgroup/unified 2>/dev/null || true
    buildah() { command buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$work/root.tar" / >/dev/null
    buildah config --entrypoint "[\"/usr/sbin/nginx\",\"-g\",\"daemon off;\"]" --stop-signal SIGQUIT --port 80/tcp \
        --workingdir / "$container"
    rm -f "$archive"
    buildah commit --quiet --disable-compression=false "$container" "oci-archive:$archive:nginx" >/dev/null
'
echo "nginx: $archive, $(stat -c %s "$archive") bytes"
