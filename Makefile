# `make run` shows it, `make test` checks it, `make bench` measures it.  All need Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.wsrelay
TOOLS = $(VENV)/.wsrelay-tools
PYTEST_ARGS ?=
CHECK_C = -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion \
	-Wno-sign-conversion -Werror -fsyntax-only
BENCH_ARGS ?=

.PHONY: run test lint types coverage bench clean

run: $(STAMP)
	$(BIN)/twistd -n --pidfile= wsrelay --demo

test: $(TOOLS)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(CC) $(CHECK_C) wsrelay/relay/native/*.c

types: $(TOOLS)
	$(BIN)/mypy

coverage: $(TOOLS)
	$(BIN)/coverage run -m pytest -m "not peers" $(PYTEST_ARGS)
	$(BIN)/coverage report --show-missing --skip-covered

bench: $(STAMP)
	@if command -v node >/dev/null && command -v npm >/dev/null && [ ! -d bench/node_modules ]; then \
		cd bench && npm ci --silent --no-audit --no-fund; \
	fi || echo "npm ci failed; the benchmark runs without node http-proxy." >&2
	$(BIN)/python -m bench $(BENCH_ARGS)

$(STAMP): setup.cfg pyproject.toml setup.py $(wildcard wsrelay/relay/native/* wsrelay/relay/native_build.py)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "wsrelay needs Python 3.11 or newer; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing wsrelay into $(VENV), once; this takes a minute."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(TOOLS): $(STAMP)
	@echo "Installing what the tests need."
	$(BIN)/python -m pip install --quiet --editable '.[lint]'
	@touch $@

clean:
	rm -rf $(VENV) build dist bench/build bench/node_modules *.egg-info twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
