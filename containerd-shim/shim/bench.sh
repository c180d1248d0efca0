#!/usr/bin/env bash
# Measures the shim beside containerd's own under one containerd: time of `run`, of create and start, and memory of an idle shim.
# As root, with the packages containerd, runc and busybox-static. ROUNDS (default 50) rounds, interleaved; medians.
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${ROUNDS:-50}
cargo build --locked --quiet --release -p hull-shim
shim=$(find "${CARGO_TARGET_DIR:-target}" -path '*release/containerd-shim-hull-v2' -type f | head -n 1)
room=$(mktemp -d)
daemon=
finish() {
    for id in $(ctr -a "$room/c.sock" container ls -q 2>/dev/null); do
        ctr -a "$room/c.sock" task rm -f "$id" >/dev/null 2>&1 || true
        ctr -a "$room/c.sock" container rm "$id" >/dev/null 2>&1 || true
    done
    [ -z "$daemon" ] || { kill "$daemon"; wait "$daemon" || true; }
    rm -rf "$room"
}
trap finish EXIT

mkdir -p "$room/bin" "$room/layer/bin" "$room/layout/blobs/sha256"
cp "$shim" "$room/bin/"
cp /bin/busybox "$room/layer/bin/"
for name in true sleep; do ln "$room/layer/bin/busybox" "$room/layer/bin/$name"; done
tar -C "$room/layer" -cf "$room/layer.tar" .
blob() { # file -> digest and size, and the file into the layout
    digest=$(sha256sum "$1" | cut -d' ' -f1) size=$(stat -c %s "$1")
    mv "$1" "$room/layout/blobs/sha256/$digest"
}
blob "$room/layer.tar"
layer="{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$size}"
printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$digest" >"$room/b"
blob "$room/b"
config="{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size}"
manifest=application/vnd.oci.image.manifest.v1+json
printf '{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}' $manifest "$config" "$layer" >"$room/b"
blob "$room/b"
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"hull.bench/box:1"}}]}' \
    $manifest "$digest" "$size" >"$room/layout/index.json"
echo '{"imageLayoutVersion":"1.0.0"}' >"$room/layout/oci-layout"
tar -C "$room/layout" -cf "$room/image.tar" .

cat >"$room/config.toml" <<TOML
version = 2
root = "$room/root"
state = "$room/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$room/c.sock"
TOML
PATH="$room/bin:$PATH" containerd -c "$room/config.toml" 2>"$room/log" &
daemon=$!
until ctr -a "$room/c.sock" version >/dev/null 2>&1; do sleep 0.1; done
c() { ctr -a "$room/c.sock" "$@"; }
c image import "$room/image.tar" >/dev/null

now() { date +%s%N; }
median() { sort -n "$1" | awk '{ a[NR] = $1 } END { printf "%.1f", a[int((NR + 1) / 2)] / 1e6 }'; }
timed() { # file, then a command
    local file=$1 begin; shift
    begin=$(now); "$@" >/dev/null 2>&1 </dev/null; echo $(($(now) - begin)) >>"$file"
}
runtimes=(hull runc)
for round in $(seq "$rounds"); do
    for name in "${runtimes[@]}"; do
        runtime=io.containerd.$name.v2
        timed "$room/run.$name" c run --rm --null-io --runtime $runtime hull.bench/box:1 "r$name$round" true
        timed "$room/start.$name" c run -d --null-io --runtime $runtime hull.bench/box:1 "s$name$round" sleep 1000
        timed "$room/exec.$name" c task exec --exec-id e "s$name$round" true
        if [ "$round" = 1 ]; then
            pid=$(pgrep -f "containerd-shim-$name-v2 .*-id s${name}1 .*$room/c.sock")
            awk '/^(VmRSS|VmHWM|Threads|RssAnon|RssFile)/ { printf "%s%s ", $1, $2 } END { print "" }' "/proc/$pid/status" >"$room/memory.$name"
        fi
        timed "$room/rm.$name" c task rm -f "s$name$round"
        c container rm "s$name$round" >/dev/null
    done
done
printf '%-6s %10s %12s %10s %10s   %s\n' shim 'run, ms' 'run -d, ms' 'exec, ms' 'rm, ms' 'memory of an idle shim, kB'
for name in "${runtimes[@]}"; do
    printf '%-6s %10s %12s %10s %10s   %s\n' "$name" "$(median "$room/run.$name")" "$(median "$room/start.$name")" \
        "$(median "$room/exec.$name")" "$(median "$room/rm.$name")" "$(cat "$room/memory.$name")"
done
