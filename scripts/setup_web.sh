#!/usr/bin/env bash
# Adds what the web suites need: Playwright, the task files of WebArena and MiniWoB++, and a Chromium
# where there is none (Debian's as root, otherwise Playwright's own in ~/.cache/ms-playwright).
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/setup.sh
.venv/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements/web.lock
if .venv/bin/python -c 'import sys; from clawjax.evals.web.chromium import browser_problem; sys.exit(browser_problem() is not None)'; then
    exit 0
fi
if [[ "$(id -u)" == 0 ]] && command -v apt-get > /dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium > /dev/null
else
    .venv/bin/python -m playwright install chromium
fi
