# Everything runs in .venv, made from pyproject.toml on first use. PYTHON=... chooses the interpreter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
INSTALLED := $(VENV)/.installed
FOLDERS := cache zcc broker node

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# The builds that tests and demo run are not this make's children.
unexport MAKEFLAGS MFLAGS MAKELEVEL

.PHONY: help test quick coverage sanitize demo check docs screenshots golden differ attack edits faults services bench packages clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s  %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What the C programs and the entry points are made of; Python code is used where it lies.
C_FILES := $(wildcard zcc/launcher/*.[ch] node/shim/*.[ch] node/probe/*.c)
MADE_OF := pyproject.toml CMakeLists.txt $(C_FILES)

define install
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "zcc needs Python 3.11: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $(1) into $(VENV), once ..."
	$(BIN)/python -m pip install --editable '$(2)'
endef

$(RUNS): $(MADE_OF)
	$(call install,zcc and what it needs,.)
	@touch $@

# The extra has what only tests, checks and benches need.
$(INSTALLED): $(MADE_OF)
	$(call install,zcc and what its tests need,.[dev])
	@touch $(RUNS) $@

# A worker for each processor, up to four.
AT_ONCE ?= auto
# Four workers on any machine: most tests of whole farms wait for something, and each worker has farms of its own.
# The files in the order of their folders: those of whole farms, which take minutes, come first, and the short ones
# of tests/unit fill the end. xdist's own order is by the number of tests, by which the longest files come last.
test: AT_ONCE = 4
test: $(INSTALLED) ## all tests (ARGS=... for pytest, AT_ONCE=0 for one after the other)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest \
		--numprocesses $(AT_ONCE) --dist loadfile --no-loadscope-reorder $(ARGS)

quick: $(INSTALLED) ## the tests that start no process and open no connection
	$(BIN)/python -m pytest -q --quick --numprocesses $(AT_ONCE) --maxprocesses 4 $(ARGS)

demo: $(RUNS) ## a farm on this machine, building something
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/demo.py

check: $(INSTALLED) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/zcc/test_layers.py

docs: $(INSTALLED) ## the pages that are made of code (docs/reference)
	$(BIN)/python -m zcc.cli.reasons_page > docs/reference/reasons.md
	$(BIN)/python -m tests.metrics_page > docs/reference/metrics.md
	$(BIN)/python -m tests.commands_page > docs/reference/commands.md

screenshots: $(INSTALLED) ## the pictures of the page in docs/pictures (chromium)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.screenshots

golden: $(INSTALLED) ## the bytes of all messages as this release says them, once a release
	$(BIN)/python -m tests.golden

coverage: $(INSTALLED) ## lines and branches that make quick reaches, and whether they are fewer than agreed
	$(BIN)/python -m pytest -q --quick --numprocesses $(AT_ONCE) --maxprocesses 4 --cov --cov-report term:skip-covered $(ARGS)

# The shim's tests always build it with a check of what C leaves undefined. It is linked with no libc, so it has no
# address sanitizer. Whatever the launcher holds when it ends or becomes the compiler is the kernel's: no leak.
sanitize: $(INSTALLED) ## the tests of launcher and shim, built with gcc's sanitizers
	PATH="$(CURDIR)/$(BIN):$$PATH" ASAN_OPTIONS=detect_leaks=0 \
		ZCC_SANITIZERS="-g -fsanitize=address,undefined -fno-sanitize-recover=all" \
		$(BIN)/python -m pytest -q --numprocesses $(AT_ONCE) --maxprocesses 4 --dist loadfile \
		tests/unit/agent/test_launcher.py $(wildcard tests/unit/node/test_shim*.py) $(ARGS)

faults: $(INSTALLED) ## parts that die, freeze, are cut off, as long as in life (half an hour)
	PATH="$(CURDIR)/$(BIN):$$PATH" ZCC_LONG_FAULTS=1 $(BIN)/python -m pytest tests/faults -m '' $(ARGS)

MINUTES ?= 60
SEED ?= $(shell od -An -N3 -tu4 /dev/urandom)
differ: $(INSTALLED) ## random commands, plain and through zcc, for MINUTES=60 from SEED=...
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.differential \
		--minutes $(MINUTES) --seed $(SEED) $(ARGS)

attack: $(INSTALLED) ## random messages and jobs against a farm, for MINUTES=60 from SEED=... (root)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.attacks \
		--minutes $(MINUTES) --seed $(SEED) $(ARGS)

edits: $(INSTALLED) ## random edits between builds, plain against cache (STEPS=... SEED=...)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.edits --steps $(or $(STEPS),3000) --seed $(or $(SEED),1)

services: $(INSTALLED) ## the services under a systemd of their own, in a container (root; mmdebstrap, systemd-nspawn)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -s tests/services -m '' $(ARGS)

bench: $(INSTALLED) ## every bench; each states its question
	@for bench in bench/*.py bench/projects; do \
		echo "== $$bench"; PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python $$bench || exit 1; \
	done

packages: ## the wheel and the Debian packages, in dist/ (docs/guide/packages.md)
	examples/packages/build-wheel
	examples/packages/build-deb

clean: ## remove what the above made
	rm -rf $(VENV) build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo
	rm -f node/shim/lookups.so node/probe/attempts
	find $(FOLDERS) tests bench examples -name __pycache__ -prune -exec rm -rf {} +
