# `make run` shows it, `make test` checks it, `make bench` measures it, `make soak` wears it out,
# `make dist` packs it up.
# All need Python 3.11 or newer.

PYTHON ?= python3
PYTHON2 ?= python2.7
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.wsrelay
TOOLS = $(VENV)/.wsrelay-tools
SEARCH = $(VENV)/.wsrelay-fuzz
WRITING = $(VENV)/.wsrelay-docs
PYTEST_ARGS ?=
# Processes that the tests are spread over, file by file.
WORKERS ?= 2
CHECK_C = -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wpedantic -Wshadow -Wconversion \
	-Wno-sign-conversion -Werror -fsyntax-only
BENCH_ARGS ?=
MINUTES ?= 10
SOAK_ARGS ?=
CLANG ?= clang
MADE = access_log answers commands compatibility configuration metrics plugins
SECONDS ?= 60
FUZZ_TARGETS ?=
# Who gets a wheel: those of these that there are.
PYTHONS ?= $(shell for each in python3.11 python3.12 python3.13; do \
	$$each -c '' 2>/dev/null && echo $$each; done)
RELEASE = build/release
SANITIZED = build/sanitized
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g
SANITIZE_ENV = CI=true PYTHONPATH=$(abspath $(SANITIZED)) UBSAN_OPTIONS=print_stacktrace=1 \
	LD_PRELOAD=$$(gcc -print-file-name=libasan.so)
SANITIZE_ASAN = ASAN_OPTIONS=detect_leaks=0:abort_on_error=1
SANITIZED_PYTEST = $(abspath $(BIN))/python -m pytest -p no:cacheprovider --capture=sys \
	--numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

.PHONY: run test sanitize fuzz fuzz-frames fuzz-python fuzz-keep lint types coverage bench soak \
	conformance docs pages dist clean

run: $(STAMP)
	$(BIN)/twistd -n --pidfile= wsrelay --demo

test: $(TOOLS)
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# The native pump's tests with its C code under AddressSanitizer and UBSan, which end the
# process at the first fault.  Everything is copied, so that the extension in use stays.
# Python's own allocator would hide what is read behind its objects; in a relay whose memory
# is measured, freed memory must not be kept for long.
sanitize: $(TOOLS)
	rm -rf $(SANITIZED)
	mkdir -p $(SANITIZED)/tests/peers
	cp -r wsrelay twisted setup.py setup.cfg pyproject.toml README.rst LICENSE $(SANITIZED)
	cp -r tests/*.py tests/relay tests/wire tests/system $(SANITIZED)/tests
	cp tests/peers/*.py $(SANITIZED)/tests/peers
	rm -f $(SANITIZED)/wsrelay/relay/*.so
	cd $(SANITIZED) && CC=gcc CFLAGS="$(SANITIZE)" LDFLAGS="$(SANITIZE)" \
		$(abspath $(BIN))/python setup.py --quiet build_ext --inplace
	cd $(SANITIZED) && env $(SANITIZE_ENV) $(SANITIZE_ASAN) PYTHONMALLOC=malloc \
		$(SANITIZED_PYTEST) tests/wire/test_native_frames.py $(addprefix tests/relay/test_, \
		native_pump.py native_tls.py tls_records.py pump.py inject.py paces.py paces_fuzz.py \
		session_close.py session_fuzz.py heartbeat.py)
	cd $(SANITIZED) && env $(SANITIZE_ENV) \
		$(SANITIZE_ASAN):quarantine_size_mb=1:thread_local_quarantine_size_kb=16 \
		$(SANITIZED_PYTEST) $(addprefix tests/system/test_, \
		frames.py ends.py leaks.py tls.py backpressure.py rates.py)

# Any bytes for everything that reads what strangers write, SECONDS for each: the scanner of
# frames in C with libFuzzer, which clang brings, and what is Python with atheris.
# FUZZ_TARGETS="request ini" searches for those only.
fuzz: fuzz-frames fuzz-python

fuzz-frames:
	mkdir -p build/fuzz/corpus/frames build/fuzz/crashes/frames
	$(CLANG) -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-Iwsrelay/relay/native tests/native/fuzz_frames.c \
		wsrelay/relay/native/frames.c wsrelay/relay/native/pace.c \
		-o build/fuzz/fuzz_frames
	build/fuzz/fuzz_frames -max_total_time=$(SECONDS) -max_len=600 -print_final_stats=1 \
		-artifact_prefix=build/fuzz/crashes/frames/ build/fuzz/corpus/frames tests/fuzz/corpus/frames

fuzz-python: $(SEARCH)
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(FUZZ_TARGETS)

# What was found since, as far as it makes the code do what nothing in the corpus does.
fuzz-keep: $(TOOLS)
	$(BIN)/python -m tests.fuzz --keep $(FUZZ_TARGETS)

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

# Clients of every kind for MINUTES; ends with a table, and with 1 if a message was lost.
soak: $(TOOLS)
	$(BIN)/python -m soak --minutes $(MINUTES) $(SOAK_ARGS)

# The Autobahn Testsuite through a relay and without one; it is a program for Python 2.7.
conformance: $(TOOLS)
	$(BIN)/python -m tests.conformance --python2 $(PYTHON2) --out docs/conformance.json
	$(BIN)/python docs/make_conformance.py > docs/conformance.rst

# The documentation as HTML, in build/docs.  Warnings are errors: links that lead nowhere, say.
docs: $(WRITING)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --jobs auto \
		--fresh-env -b html docs build/docs
	@echo "build/docs/index.html"

# The pages that are made of the code's own tables; tests fail when page and code differ.
pages: $(TOOLS)
	@mkdir -p build; for name in $(MADE); do \
		$(BIN)/python docs/make_$$name.py > build/page.rst || exit 1; \
		mv build/page.rst docs/$$(echo $$name | tr _ -).rst; \
	done

# What could be uploaded, in dist/: the sdist of what is committed, and made from it a wheel with
# the native pump for each of PYTHONS.  auditwheel refuses a wheel without it, and gives the others
# the tag of the oldest glibc that they run with.
dist: $(TOOLS)
	@git diff --quiet HEAD || { \
		echo "Commit first: a release is made of what is committed." >&2; exit 1; }
	@[ -n "$(strip $(PYTHONS))" ] || { \
		echo "There is none of python3.11 to 3.13; say which: make dist PYTHONS=..." >&2; exit 1; }
	rm -rf dist $(RELEASE)
	mkdir -p $(RELEASE)/sources $(RELEASE)/wheels
	git archive HEAD | tar -x -C $(RELEASE)/sources
	$(BIN)/python -m build --sdist --outdir dist $(RELEASE)/sources
	set -e; for python in $(PYTHONS); do \
		environment=$(RELEASE)/$$(basename $$python); \
		$$python -m venv $$environment; \
		$$environment/bin/python -m pip wheel --quiet --no-deps --no-cache-dir \
			--wheel-dir $(RELEASE)/wheels dist/*.tar.gz; \
	done
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m auditwheel repair \
		--wheel-dir dist $(RELEASE)/wheels/*.whl
	$(BIN)/python -m twine check --strict dist/*

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

$(WRITING): $(STAMP)
	@echo "Installing what makes the documentation."
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

$(SEARCH): $(TOOLS)
	@echo "Installing atheris; where it has no wheel for this Python, that needs clang."
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	@touch $@

clean:
	rm -rf $(VENV) build dist bench/build bench/node_modules *.egg-info twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
