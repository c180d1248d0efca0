# lib.sh: the steps of build.sh: packages, source, configuration and its check. Sourced, not run.
# shellcheck shell=bash
# Variables of build.sh used here: here, flavour, cache, keys. Set here: tarball, source_hash, source_tree, make_variables.

# Most bytes of the signed virt bzImage (5 MB).
virt_size_max=5000000

# Same input, same bytes: no date, user, host or counter of the machine that builds.
make_variables=(
    ARCH=x86_64 KBUILD_BUILD_TIMESTAMP=2026-01-01T00:00:00Z KBUILD_BUILD_USER=hull KBUILD_BUILD_HOST=hull KBUILD_BUILD_VERSION=1
    LC_ALL=C
)

say() { printf 'kernel %s\n' "$1" >&2; }

die() { printf 'kernel/build.sh: %s\n' "$1" >&2; exit 1; }

# Each command or header that a build needs, and the Debian package it is in.
need_packages() {
    local missing=() pair
    for pair in gcc:gcc make:make flex:flex bison:bison bc:bc openssl:openssl osslsigncode:osslsigncode zstd:zstd xz:xz-utils perl:perl patch:patch; do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair#*:}")
    done
    for pair in gelf.h:libelf-dev openssl/opensslv.h:libssl-dev; do
        echo "#include <${pair%%:*}>" | gcc -E - > /dev/null 2>&1 || missing+=("${pair#*:}")
    done
    ((${#missing[@]} == 0)) || die "build the kernel: packages are missing: ${missing[*]}; run: apt-get install ${missing[*]}"
}

# Sets tarball and source_hash, the hash of tarball and patches; checks what the caller said about them.
find_tarball() {
    local tarball_hash
    tarball=${KERNEL_TARBALL:-/usr/src/linux-source-6.12.tar.xz}
    if [[ -n ${KERNEL_TARBALL:-} && -z ${KERNEL_SHA256:-} ]]; then
        die "use KERNEL_TARBALL=$tarball: KERNEL_SHA256 is not set; set it to the SHA-256 that its publisher gives"
    fi
    if [[ ! -r $tarball ]]; then
        [[ -z ${KERNEL_TARBALL:-} ]] || die "read KERNEL_TARBALL=$tarball: no such file; give the path of a Linux 6.12 tarball"
        die "read $tarball: no such file; run: apt-get install linux-source-6.12, or set KERNEL_TARBALL and KERNEL_SHA256"
    fi
    tarball_hash=$(sha256sum "$tarball" | cut -d' ' -f1)
    if [[ -n ${KERNEL_SHA256:-} && ${KERNEL_SHA256,,} != "$tarball_hash" ]]; then
        die "check $tarball: its SHA-256 is $tarball_hash, KERNEL_SHA256 says $KERNEL_SHA256; get the right file or correct the value"
    fi
    source_hash=$({ printf '%s\n' "$tarball_hash"; cat "$here"/patches/*.patch; } | sha256sum | cut -d' ' -f1)
}

# Unpacks and patches the source once per tarball and patches into the cache: both flavours and the check of the configuration use
# it. Left out is what an x86 build never reads (half of the files). Other trees are removed.
unpack_source() {
    local fix
    source_tree=$cache/source-${source_hash:0:16}
    # Shared while it is used, until this script ends: nobody removes a tree under a compiler.
    exec 7> "$cache/.lock-source"
    flock -s 7
    [[ -d $source_tree ]] || flock 7
    if [[ ! -d $source_tree ]]; then
        local fresh
        say "source: unpacking $(basename "$tarball")"
        fresh=$(mktemp -d "$cache/.source.XXXXXX")
        tar -xf "$tarball" -C "$fresh" --strip-components=1 \
            --exclude='*/Documentation/*/*' --exclude='*/drivers/gpu/drm/*/*.[ch]' --exclude='*/drivers/gpu/drm/amd/*/*.[ch]' \
            --exclude='*/sound/*.[ch]' --exclude='*/tools/testing' --exclude='*/tools/perf' --exclude='*/arch/*/boot/dts' ||
            { rm -rf "$fresh"; die "unpack $tarball: tar failed; is it a whole .tar, .tar.xz or .tar.gz, and is there 2 GB of space in $cache?"; }
        for fix in "$here"/patches/*.patch; do
            patch -d "$fresh" -p1 --forward --batch --fuzz=0 -s < "$fix" >&2 ||
                { rm -rf "$fresh"; die "apply $(basename "$fix") to $tarball: it does not fit; correct it in kernel/patches"; }
        done
        rm -rf "$cache"/source-*
        mv -T "$fresh" "$source_tree"
        flock -s 7
    fi
}

# The fragments of the flavour, in order: a later line wins over an earlier one.
fragments() {
    cat "$here/config/base.config" "$here/config/virt.config"
    [[ $flavour != metal ]] || cat "$here/config/metal.config"
}

# Raised by hand when compile() or sign() change what comes out of the same input.
recipe=1

# Everything that decides what comes out: source with its patches, configuration, built-in parameters, certificate, compiler, recipe.
# Comments do not.
result_hash() {
    {
        printf '%s\n' "$recipe" "$source_hash" "${make_variables[@]}"
        fragments | grep -E '^(CONFIG_|# CONFIG_[A-Za-z0-9_]+ is not set$)'
        grep -hv '^#' "$here/bootconfig/base.bconf" "$here/bootconfig/$flavour.bconf"
        cat "$keys/kernel.crt"
        gcc --version
        ld --version
    } | sha256sum | cut -c1-16
}

# Writes $1/.config: tinyconfig's own answers, then the fragments; what neither names is off.
configure() {
    local folder=$1
    mkdir -p "$folder/hull"
    cat "$here/bootconfig/base.bconf" "$here/bootconfig/$flavour.bconf" > "$folder/hull/bootconfig"
    cp "$keys/kernel.crt" "$folder/hull/kernel.crt"
    {
        cat "$source_tree/kernel/configs/tiny-base.config" "$source_tree/kernel/configs/tiny.config" "$source_tree/arch/x86/configs/tiny.config"
        fragments
    } > "$folder/hull/wanted.config"
    make -s -C "$source_tree" O="$folder" "${make_variables[@]}" KCONFIG_ALLCONFIG="$folder/hull/wanted.config" allnoconfig \
        > "$folder/hull/log" 2>&1 || die "configure the $flavour kernel: make allnoconfig failed: $(tail -n 3 "$folder/hull/log")"
}

# Fails, naming them, when options that a fragment asks for (or forbids) are not so in the configuration $1.
check_config() {
    local lost
    lost=$(fragments | awk '
        function note(table) {
            if ($0 ~ /^CONFIG_[A-Za-z0-9_]+=/) { name = $0; sub(/=.*/, "", name); value = substr($0, length(name) + 2) }
            else if ($0 ~ /^# CONFIG_[A-Za-z0-9_]+ is not set$/) { name = $2; value = "n" }
            else return
            table[name] = value
        }
        role == "wanted" { note(wanted) }
        role == "got" { note(got) }
        END {
            for (name in wanted) {
                is = (name in got) ? got[name] : "n"
                if (is != wanted[name]) printf "  %s: asked for %s, is %s\n", name, wanted[name], is
            }
        }' role=wanted - role=got "$1" | sort)
    [[ -z $lost ]] || die "check the $flavour configuration: options did not survive the merge (a dependency is missing or another option forces them):
$lost"
}

# The virt kernel has a limit; the other is only reported.
check_size() {
    local size
    size=$(stat -c %s "$1")
    say "$flavour: bzImage $size bytes"
    [[ $flavour != virt ]] || ((size <= virt_size_max)) ||
        die "check $1: $size bytes, the limit is $virt_size_max; see what grew: nm --size-sort vmlinux"
}
