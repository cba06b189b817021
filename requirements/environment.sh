# Sourced by ./quickstart and ./test: find a Python, make a virtual environment, install what a lock file says.
# POSIX sh; nothing here asks a question.

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

find_python() {
    for python in python3 python3.13 python3.12 python3.11; do
        if command -v "$python" >/dev/null 2>&1 && fits "$python"; then
            echo "$python"
            return
        fi
    done
    if command -v apt-get >/dev/null 2>&1; then
        fail "Python 3.11, 3.12 or 3.13 is needed. Install it with:" "  sudo apt-get install python3 python3-venv"
    fi
    fail "Python 3.11, 3.12 or 3.13 is needed. Get it from https://www.python.org/downloads/ or with:" \
        "  brew install python@3.13"
}

# make_environment FOLDER LOCK: does nothing where the same lock file was installed already.
make_environment() {
    clone_of_lock=$(CDPATH='' cd -- "$(dirname -- "$2")/.." && pwd)
    if ! { [ -x "$1/bin/python" ] && fits "$1/bin/python"; }; then
        python=$(find_python)
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        "$python" -c 'import venv, ensurepip' 2>/dev/null ||
            fail "This Python cannot make virtual environments yet. Run:" \
                "  sudo apt-get install python$version-venv"
        say "Making $1 with Python $version"
        rm -rf "$1"
        "$python" -m venv "$1"
    fi
    wanted=$(cat "$2" "$clone_of_lock/pyproject.toml" | cksum)
    if [ "$(cat "$1/installed" 2>/dev/null)" != "$wanted" ]; then
        say "Installing into $1"
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
        "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -e "$clone_of_lock"
        printf '%s\n' "$wanted" >"$1/installed"
    fi
}
