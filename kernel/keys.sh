#!/usr/bin/env bash
# keys.sh: makes, once, the key pair whose certificate is built into the kernel and which signs the kernels it may kexec.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: kernel/keys.sh

Prints the folder that holds kernel.key (private, 0600) and kernel.crt; creates the pair if it is not there.
  HULL_KEYS=DIR   use the pair in DIR; nothing is created
  HULL_CACHE=DIR  where to keep the pair otherwise (DIR/keys; default ~/.cache/hull)
TEXT
}

die() { printf 'keys.sh: %s\n' "$1" >&2; exit 1; }

# The subject and usage that the kernel's keyring and Authenticode want; a hundred years, since a kernel has no clock to trust.
openssl_config() {
    cat <<'TEXT'
[req]
prompt = no
string_mask = utf8only
distinguished_name = name
x509_extensions = usage
[name]
CN = Hull kernel signing key
[usage]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
TEXT
}

create_pair() {
    local folder=$1 temporary
    temporary=$(mktemp -d "$folder/.new.XXXXXX")
    openssl_config > "$temporary/openssl.cnf"
    (umask 077; openssl req -x509 -new -newkey rsa:2048 -nodes -sha256 -days 36500 \
        -config "$temporary/openssl.cnf" -keyout "$temporary/kernel.key" -out "$temporary/kernel.crt" 2> "$temporary/log") ||
        die "create key pair in $folder: openssl failed: $(tail -n 1 "$temporary/log"); see the lines above"
    chmod 0600 "$temporary/kernel.key"
    chmod 0644 "$temporary/kernel.crt"
    # The certificate comes last: its presence means that the pair is whole.
    mv "$temporary/kernel.key" "$folder/kernel.key"
    mv "$temporary/kernel.crt" "$folder/kernel.crt"
    rm -r "$temporary"
    printf 'keys.sh: created %s/kernel.key and kernel.crt\n' "$folder" >&2
}

main() {
    case ${1:-} in
        '') ;;
        -h | --help) usage; return ;;
        *) usage >&2; exit 2 ;;
    esac
    command -v openssl > /dev/null || die "run openssl: it is not installed; install the packages of kernel/packages.txt"
    local folder
    if [[ -n ${HULL_KEYS:-} ]]; then
        folder=$HULL_KEYS
        [[ -r $folder/kernel.key && -r $folder/kernel.crt ]] ||
            die "use HULL_KEYS=$folder: kernel.key or kernel.crt is missing or unreadable; unset HULL_KEYS to have a pair created"
    else
        folder=${HULL_CACHE:-$HOME/.cache/hull}/keys
        mkdir -p "$folder"
        exec 8> "$folder/.lock"
        flock 8
        [[ -r $folder/kernel.key && -r $folder/kernel.crt ]] || create_pair "$folder"
    fi
    (cd "$folder" && pwd)
}

main "$@"
