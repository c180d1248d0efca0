#!/usr/bin/env bash
# Makes sure that what the build and the tests need is installed: as root it installs, otherwise it prints the one command that does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

die() { printf 'set-up: %s\n' "$*" >&2; exit 1; }

# Every package, a line each with its reason, in packages.txt of this room and of the kernel's.
wanted=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$here/packages.txt" "$here/../kernel/packages.txt" | awk '{print $1}' | sort -u)
if [ -n "${KERNEL_TARBALL:-}" ]; then
    wanted=$(printf '%s\n' "$wanted" | grep -v '^linux-source' || true)
fi

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]; }
missing=()
for package in $wanted; do
    # A QEMU from elsewhere serves as well.
    if [ "$package" = qemu-system-x86 ] && command -v qemu-system-x86_64 >/dev/null; then continue; fi
    installed "$package" || missing+=("$package")
done

command -v cargo >/dev/null || die "cargo: not found; install a Rust toolchain (rustup.rs), then run this again"
[ "${#missing[@]}" -gt 0 ] || exit 0
command -v apt-get >/dev/null || die "these are missing and this is not a Debian or Ubuntu machine, install them by your own means: ${missing[*]}"

if [ "$(id -u)" != 0 ]; then
    printf 'set-up: missing packages. Install them with:\n\n    sudo apt-get install -y --no-install-recommends %s\n\n' "${missing[*]}" >&2
    if printf '%s\n' "${missing[@]}" | grep -q '^linux-source' && ! apt-cache show linux-source-6.12 >/dev/null 2>&1; then
        printf 'set-up: this release has no linux-source-6.12: give a kernel tarball instead (KERNEL_TARBALL=linux-6.12.x.tar.xz KERNEL_SHA256=...).\n' >&2
    fi
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; }

# qemu-utils may be installed in a newer version than this release's qemu-system-x86 can stand beside: then both
# come from the release's backports, which the same archive carries.
install_from_backports() {
    local codename uri list=/etc/apt/sources.list.d/hull-backports.list
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    uri=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' 2>/dev/null |
        awk -v c="$codename" '$2 == c { print $1; exit }')
    [ -n "$codename" ] && [ -n "$uri" ] || return 1
    if ! apt-cache policy | grep -q "n=$codename-backports"; then
        printf 'deb %s %s-backports main\n' "$uri" "$codename" >"$list"
        apt-get update >"$log" 2>&1 || return 1
    fi
    install -t "$codename-backports" "$@"
}

printf 'set-up: installing %s\n' "${missing[*]}" >&2
apt-get update >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed"; }
rest=()
for package in "${missing[@]}"; do [ "$package" = qemu-system-x86 ] || rest+=("$package"); done
if [ "${#rest[@]}" -gt 0 ]; then
    install "${rest[@]}" || { cat "$log" >&2; die "apt-get could not install: ${rest[*]}"; }
fi
if printf '%s\n' "${missing[@]}" | grep -qx qemu-system-x86; then
    install qemu-system-x86 || install_from_backports qemu-system-x86 ||
        { cat "$log" >&2; die "apt-get could not install qemu-system-x86, neither from this release nor from its backports"; }
fi
printf 'set-up: done\n' >&2
