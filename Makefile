# Hull's thin face: each target is one call of what does the work.

OUT      ?= out
KERNEL   ?= virt
VERSION  ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# What the development image is told on its command line; see docs/cmdline.md.
CMDLINE  ?= hull.kv.listen=0.0.0.0:2379 hull.run=hello hull.console=hullctl hull.host.share=host
EXTRA_ROOT ?=
export OUT KERNEL VERSION CMDLINE EXTRA_ROOT

.DEFAULT_GOAL := help
.PHONY: help setup kernel programs image release run test test-long test-kv-faults test-nginx check bench bench-oci bench-shim bench-kv sim fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install (as root) or name the packages that are missing
	@initramfs/setup.sh

kernel: setup ## build the kernel, or take it from the cache
	@initramfs/build.sh kernel

programs: setup ## build every program into out/bin: those of the image, hull-oci, containerd-shim-hull-v2
	@initramfs/build.sh programs

image: setup ## build kernel, initramfs, root image and disk image into out/
	@initramfs/build.sh image

release: setup ## build a signed release: make release VERSION=0.2.0
	@initramfs/build.sh release

run: image ## boot a virtual machine: store on 127.0.0.1:2379, example on 127.0.0.1:8080
	@qemu-tests/run.sh

test: image ## build and run every test
	@qemu-tests/test.sh

test-long: image ## kill machines at sixty moments of stage, swap and trial
	@HULL_LONG=1 HULL_OUT=$(abspath $(OUT)) cargo test --locked -p hull-qemu-tests --test update -- --nocapture killed_at

test-nginx: image ## build an image of Debian's nginx (as root), and serve from a node with it
	@mkdir -p $(OUT)/nginx && { [ -e $(OUT)/nginx/nginx.tar ] || examples/nginx/build.sh $(OUT)/nginx/nginx.tar; }
	@HULL_OUT=$(abspath $(OUT)) cargo test --locked -p hull-qemu-tests --test nginx -- --nocapture

test-kv-faults: ## three real members under faults (as root): make test-kv-faults SECONDS=600 SEED=1
	@HULL_FAULTS_SECONDS=$(or $(SECONDS),300) HULL_SEED=$(or $(SEED),1) cargo test --locked -p hull-kv --test faults -- --nocapture

check: setup ## formatting, lints, tidiness, kernel options
	@qemu-tests/check.sh

bench: image ## measure boot and swap, and write docs/benchmarks.md
	@qemu-tests/bench.sh

bench-kv: setup ## measure the store beside etcd, and write docs/benchmarks-kv.md
	@kv/bench.sh

sim: ## simulate clusters of the store under faults: make sim SECONDS=600
	@cargo run --locked --quiet -p hull-kv-sim -- --seconds $(or $(SECONDS),60)

fuzz: ## look for bytes that make a decoder panic: make fuzz SECONDS=60 (for each of them)
	@containerd-shim/fuzz/run.sh $(or $(SECONDS),30)

bench-oci: ## measure hull-oci beside crun and runc (as root)
	@containerd-shim/oci/bench.sh

bench-shim: ## measure the shim beside containerd's own (as root)
	@containerd-shim/shim/bench.sh

clean: ## remove what was built here (the kernel cache stays)
	@cargo clean --quiet && rm -rf $(OUT)
