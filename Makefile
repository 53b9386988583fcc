# What a newcomer types. Every target sets up .venv first if that is not done.
PYTHON_BIN := .venv/bin/python
ARGS ?=
WORKERS ?= 3
TEST := $(PYTHON_BIN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart=3

.PHONY: demo serve test test-all check lint types audit bench-check format lock setup setup-web clean

demo: setup  ## The main job: a simulated user talks to the model until it has learnt the wish.
	$(PYTHON_BIN) experiments/run.py experiment=personal_demo $(ARGS)

serve: setup  ## The four loops on 127.0.0.1:30000 until Ctrl-C.
	$(PYTHON_BIN) experiments/run.py experiment=serve $(ARGS)

test: setup  ## The tests, three files at a time (WORKERS): every feature, one way.
	$(TEST) -m "not thorough" $(ARGS)

test-all: setup  ## The same with further ways of what takes long.
	$(TEST) $(ARGS)

check: lint types  ## Lint, formatting and types.

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup
	.venv/bin/pyright

audit: setup  ## Secrets, pickles, and known weaknesses of the pinned dependencies; says what it could not check.
	$(PYTHON_BIN) scripts/audit.py --online

bench-check: setup  ## Is it as fast as the committed baseline? About two minutes on a quiet machine.
	$(PYTHON_BIN) benchmarks/check.py $(ARGS)

format: setup
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock:  ## Pin every dependency again, for all supported Pythons.
	uv pip compile --universal --generate-hashes --python-version 3.11 --no-annotate --no-header \
		requirements/base.in requirements/dev.in requirements/sweep.in -o requirements.lock
	uv pip compile --universal --generate-hashes --no-deps --python-version 3.11 --no-annotate --no-header \
		requirements/web.in -o requirements/web.lock
	uv pip compile --universal --generate-hashes --no-deps --python-version 3.11 --no-annotate --no-header \
		requirements/fuzz.in -o requirements/fuzz.lock

setup:
	@bash scripts/setup.sh

setup-web:  ## Playwright, a Chromium and task files, for suite=web, webarena and miniwob.
	@bash scripts/setup_web.sh

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
