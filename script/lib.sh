# shellcheck shell=bash
# What the scripts in this folder share: where things are, how they speak, Python and uv. To be sourced.
# shellcheck disable=SC2034  # used by the scripts that source it

ROOT=$(cd -P "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
VENV="$ROOT/.venv"
CACHE="$ROOT/.cache"

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# The Python to build on: MEADOWLARK_PYTHON, else the first of the usual names that is new enough.
find_python() {
    local name
    if [[ -n ${MEADOWLARK_PYTHON:-} ]]; then
        new_enough "$MEADOWLARK_PYTHON" ||
            fail "MEADOWLARK_PYTHON=$MEADOWLARK_PYTHON is not a Python of version 3.11 or newer"
        printf '%s\n' "$MEADOWLARK_PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "Meadowlark needs Python 3.11 or newer (Debian 12 and later have it: sudo apt install python3 python3-venv);" \
        "if it has another name here, set MEADOWLARK_PYTHON=/path/to/python3"
}

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The uv on PATH when it is 0.5 or newer (older ones do not know what we ask), else one of our own in .cache.
find_uv() {
    local found own="$CACHE/uv-boot" python
    found=$(command -v uv || true)
    if [[ -n $found ]] && uv_new_enough "$found"; then
        printf '%s\n' "$found"
        return
    fi
    if ! uv_new_enough "$own/bin/uv"; then
        python=$(find_python) || exit
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "Python's venv module is missing: sudo apt install python3-venv, then run this again"
        say "Fetching uv, the installer, into .cache/uv-boot"
        rm -rf "$own"
        "$python" -m venv "$own" >&2
        "$own/bin/python" -m pip --disable-pip-version-check install 'uv>=0.8,<1' >&2 ||
            fail "uv could not be fetched (see above); check the network, or install uv yourself, and run this again"
    fi
    printf '%s\n' "$own/bin/uv"
}

uv_new_enough() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#uv }
    [[ $(printf '%s\n' 0.5 "${version%% *}" | sort -V | head -n 1) == 0.5 ]]
}
