# Sourced by the scripts: brings a Debian machine and .venv to what ecfs needs, quickly when they are.
# Sets ECFS_TOP (the source tree) and ECFS_BIN (the commands of .venv).

ECFS_TOP=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
ECFS_BIN=$ECFS_TOP/.venv/bin
ECFS_PACKAGES_RUN=(fuse3 libfuse3-dev libisal2 pkg-config gcc libc6-dev)
ECFS_PACKAGES_CHECK=(attr acl rsync sqlite3 git mandoc make spin)
ECFS_PACKAGES_BENCH=(gocryptfs securefs cryfs git)

# say TEXT: one line on standard error.
ecfs_say() {
    printf '%s\n' "$*" >&2
}

# ecfs_quietly COMMAND...: runs it; its output is shown (the last 40 lines) only when it fails.
ecfs_quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        ecfs_say "failed ($status): $*"
        tail -n 40 -- "$log" >&2
    fi
    rm -f -- "$log"
    return "$status"
}

# ecfs_packages NAME...: installs by apt those that are missing.
ecfs_packages() {
    local name missing=()
    for name in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$name" 2>/dev/null) in
            *' ok installed') ;;
            *) missing+=("$name") ;;
        esac
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        ecfs_say "missing packages: ${missing[*]} (run this as root, or: apt install ${missing[*]})"
        return 1
    fi
    ecfs_say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && return 0
    ecfs_quietly apt-get update &&
        ecfs_quietly apt-get install -y --no-install-recommends "${missing[@]}"
}

# ecfs_supported PYTHON: is it 3.11 to 3.13, with what a virtual environment and an extension module need?
ecfs_supported() {
    "$1" -c 'import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13) and os.path.exists(header)))' \
        >/dev/null 2>&1
}

# ecfs_python: prints a supported Python; installs Debian's if there is none.
# Debian's comes first: it is built with profiles, so a mount's calls take a twelfth less than by one that is not.
ecfs_python() {
    local name
    for name in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if ecfs_supported "$name"; then
            command -v "$name"
            return 0
        fi
    done
    ecfs_packages python3 python3-venv python3-dev || return 1
    if ecfs_supported /usr/bin/python3; then
        echo /usr/bin/python3
        return 0
    fi
    ecfs_say "ecfs needs Python 3.11, 3.12 or 3.13 with venv and headers; none was found"
    return 1
}

# ecfs_environment [EXTRA]: makes .venv with the ecfs command, editable; again when pyproject.toml changed.
ecfs_environment() {
    local extra=${1:-} want python stamp=$ECFS_TOP/.venv/.ecfs-set-up
    want="$(sha256sum <"$ECFS_TOP/pyproject.toml") $ECFS_TOP"
    # Without an extra, an installation with any will do.
    if [ -x "$ECFS_BIN/ecfs" ] &&
        grep -qF -- "$want [$extra${extra:+]}" "$stamp" 2>/dev/null; then
        return 0
    fi
    if ! ecfs_supported "$ECFS_BIN/python"; then
        python=$(ecfs_python) || return 1
        ecfs_say "making a virtual environment in .venv with $python"
        rm -rf -- "$ECFS_TOP/.venv"
        ecfs_quietly "$python" -m venv "$ECFS_TOP/.venv" || return 1
    fi
    ecfs_say "installing ecfs${extra:+ [$extra]} into .venv"
    ecfs_quietly "$ECFS_BIN/python" -m pip install --quiet --disable-pip-version-check \
        --editable "$ECFS_TOP${extra:+[$extra]}" || return 1
    if [ -f "$stamp" ] && grep -qF -- "$want" "$stamp"; then
        printf '%s [%s]\n' "$want" "$extra" >>"$stamp"
    else
        printf '%s [%s]\n' "$want" "$extra" >"$stamp"
    fi
}

# ecfs_fuse: is there a FUSE device to mount with?
ecfs_fuse() {
    [ -c /dev/fuse ] && return 0
    ecfs_quietly modprobe fuse 2>/dev/null
    [ -c /dev/fuse ] && return 0
    ecfs_say "there is no /dev/fuse on this machine, and loading the fuse module did not help"
    return 1
}
