#!/usr/bin/env bash
# Make .venv, or bring it up to date with pyproject.toml: tools/venv.sh [EXTRA]
# With the extra `dev`, also the tools of `make check` and `make test`.
set -euo pipefail
cd "$(dirname "$0")/.."
. tools/python.sh
extra=${1:+[$1]}
mkdir -p build/logs
log=build/logs/pip.log

if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    if ! python=$(find_python); then
        echo "venv: calicopy needs Python 3.11 or newer with its venv module; try: make install-deps" >&2
        exit 1
    fi
    echo "==> making .venv with $("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi
echo "==> installing calicopy$extra and its Python packages into .venv (a minute when they are not cached)"
if ! .venv/bin/python -m pip install --disable-pip-version-check --editable ".$extra" </dev/null >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "venv: pip failed; all of its output is in $log" >&2
    exit 1
fi
