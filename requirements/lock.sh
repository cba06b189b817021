#!/bin/sh
# Makes the lock files anew from pyproject.toml; needs uv (https://docs.astral.sh/uv/).
#
#   requirements/lock.sh            keeps the versions that are locked where they still fit
#   requirements/lock.sh --upgrade  takes the newest ones
#
# run.lock is what ./quickstart installs; test.lock adds the extras and what ./test needs. One file serves every
# platform and Python version (--universal), and names no index, so that pip's own settings decide where from.
set -eu

cd "$(dirname -- "$0")/.."
lock() {
    file=requirements/$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-emit-index-url --no-emit-find-links \
        --custom-compile-command requirements/lock.sh "$@" --output-file "$file" pyproject.toml
    if grep -i '^torch' "$file"; then
        echo "lock.sh: torch must not be installed; what requires it?" >&2
        exit 1
    fi
}
lock run.lock "$@"
lock test.lock --extra int8 --extra parquet --group test "$@"
