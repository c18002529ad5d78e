# Needs Python 3.11 or newer (with venv), make, and a package index. Everything is installed below this folder:
# .venv runs, tests and checks; .venv-gen generates code and locks. `make clean` removes both.

PYTHON ?= python3
VENV := .venv
GEN := .venv-gen
IMAGE := protos/usermeta.binpb
ARGS ?=
# Without what is about SQLite, and what looks at every code point.
FAST := tests/admission tests/core tests/documents tests/query tests/store \
	$(filter-out tests/test_unicode.py,$(wildcard tests/test_*.py))
SLOW := $(addprefix tests/,query/test_plans.py query/test_robustness.py query/test_sql_equals_python.py \
	store/test_disk.py store/test_refold.py store/test_schemas.py store/test_sqlite.py)
CHECKS := fmt-check lint type gen-check proto-breaking test

# Every locked package has a wheel: no compiler is needed, and nothing that is not in the lock is installed.
PIP_FLAGS := --quiet --disable-pip-version-check --no-input --require-virtualenv
INSTALL_LOCKED = -m pip install $(PIP_FLAGS) --only-binary :all: --require-hashes -r
INSTALL_PROJECT = -m pip install $(PIP_FLAGS) --no-index --no-deps --no-build-isolation --editable .

.DEFAULT_GOAL := help
.PHONY: help run demo test test-fast coverage check faults fmt fmt-check lint type gen gen-check unicode-table proto-breaking proto-image lock schema-dump bench bench-grpcio bench-instructions dev clean
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-19s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run-installed ## Start the server (options: make run ARGS="--listen 127.0.0.1:50052")
	@exec $(VENV)/bin/usermeta serve $(ARGS)

demo: $(VENV)/.run-installed ## Show what each audience sees of a user, on a temporary store
	@$(VENV)/bin/python scripts/demo.py

test: dev ## Run the tests (options: make test ARGS="-k policy -x")
	@$(VENV)/bin/python -m pytest $(ARGS)

test-fast: dev ## Run the tests without a server and without SQLite, in seconds (options as for test)
	@$(VENV)/bin/python -m pytest $(FAST) $(SLOW:%=--ignore=%) -k "not sqlite" $(ARGS)

coverage: dev ## Run the tests and show the lines they miss
	@$(VENV)/bin/python -m coverage run -m pytest $(ARGS)
	@$(VENV)/bin/python -m coverage report

check: ## Format, lint, types, generated code, breaking changes, tests
	@for step in $(CHECKS); do \
		start=$$(date +%s); \
		echo "== $$step"; \
		$(MAKE) $$step || { echo "== $$step FAILED after $$(( $$(date +%s) - start )) s" >&2; exit 1; }; \
		echo "== $$step passed in $$(( $$(date +%s) - start )) s"; \
	done

faults: dev ## Power cuts, kills, failing disks, clocks, stopped processes (needs cc; make faults ARGS="--rounds 10")
	@$(VENV)/bin/python -m tests.faults $(ARGS)

fmt: dev ## Format Python and protos, and apply ruff's safe fixes
	@$(VENV)/bin/ruff check --quiet --fix-only .
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/buf format --write protos

fmt-check: dev ## Fail if `make fmt` would change the layout of a file
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/buf format --diff --exit-code protos

lint: dev ## Lint Python (ruff), the floors (import-linter) and the protos (buf)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/buf lint protos

type: dev ## Check types (mypy, strict)
	@$(VENV)/bin/mypy

gen: $(GEN)/.installed ## Generate src/usermeta from protos/
	@scripts/gen.sh $(GEN)/bin src

gen-check: $(GEN)/.installed ## Fail if src/usermeta is not what `make gen` makes
	@scripts/gen-check.sh $(GEN)/bin

unicode-table: $(GEN)/.installed ## Write what the server needs of Unicode's data: src/usermeta_server/unicode/table.py
	@$(GEN)/bin/python scripts/unicode_table.py

proto-breaking: dev ## Fail if the protos break callers of the committed image
	@$(VENV)/bin/buf breaking protos --against $(IMAGE) --exclude-imports

proto-image: dev ## Take the protos as they are as what callers rely on: refresh the committed image
	@$(VENV)/bin/buf build protos --exclude-source-info --output $(IMAGE)

lock: $(GEN)/.installed ## Regenerate requirements/*.lock (newest versions: make lock ARGS=--upgrade)
	@scripts/lock.sh $(GEN)/bin $(ARGS)

schema-dump: $(VENV)/.run-installed ## Write the dump of the newest schema, which the tests of the way up ask for
	@$(VENV)/bin/python scripts/dump_schema.py $(ARGS)

bench: $(VENV)/.run-installed ## Measure beside a bare gRPC server (options: make bench ARGS="--many 0 --publish")
	@command -v h2load >/dev/null || { \
		echo "Installing h2load, with which the load generator is compared ..." >&2; \
		if [ "$$(id -u)" = 0 ]; then apt-get install --quiet --yes nghttp2-client; else false; fi || \
		echo "without h2load that comparison is left out (on Debian and Ubuntu: apt install nghttp2-client)" >&2; }
	@$(VENV)/bin/python bench/throughput.py $(ARGS)

bench-grpcio: $(VENV)/.run-installed ## Compare releases of grpcio (options: make bench-grpcio ARGS="1.76.0 1.83.0")
	@$(VENV)/bin/python bench/grpcio_versions.py $(ARGS)

bench-instructions: $(VENV)/.run-installed ## Count the instructions of a call, which no neighbour blurs (needs valgrind)
	@command -v valgrind >/dev/null || { echo "needs valgrind (on Debian and Ubuntu: apt install valgrind)" >&2; exit 1; }
	@$(VENV)/bin/python bench/instructions.py $(ARGS)

dev: $(VENV)/.dev-installed ## Install what the checks and tests need

clean: ## Remove the environments and caches (the database in data/ stays)
	@rm -rf $(VENV) $(GEN) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	@find src tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- environments ---------------------------------------------------------------------------------
# The stamps make a second run instant. dev.lock holds all of run.lock, at the same versions.

$(VENV)/bin/python $(GEN)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "usermeta needs Python 3.11 or newer; say which one: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(@:/bin/python=)

$(VENV)/.run-installed: requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the server needs into $(VENV) ..." >&2
	@$(VENV)/bin/python $(INSTALL_LOCKED) requirements/run.lock
	@$(VENV)/bin/python $(INSTALL_PROJECT)
	@touch $@

$(VENV)/.dev-installed: requirements/dev.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests and checks need into $(VENV) ..." >&2
	@$(VENV)/bin/python $(INSTALL_LOCKED) requirements/dev.lock
	@$(VENV)/bin/python $(INSTALL_PROJECT)
	@touch $(VENV)/.run-installed $@

$(GEN)/.installed: requirements/gen.lock | $(GEN)/bin/python
	@echo "Installing the generators into $(GEN) ..." >&2
	@$(GEN)/bin/python $(INSTALL_LOCKED) requirements/gen.lock
	@touch $@
