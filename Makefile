# `make` lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install install-test demo test check lock soak bench docs clean

VENV ?= .venv
export VENV
BIN := $(VENV)/bin
LOCK := --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" -q
# Tests that need no server: what `make check` runs.
UNIT := -m "not server" -p no:cacheprovider

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: ## .venv with everything that running Aegis needs; the command is .venv/bin/aegis
	@requirements/install run

install-test:
	@requirements/install test

demo: install ## starts Aegis, plays the demo against real targets, verifies the log, stops; KEEP=1 leaves it running
	@$(BIN)/aegis demo $(if $(KEEP),--keep)

test: install-test ## the whole suite; what could not run on this machine is one table at the end
	@$(BIN)/python -m pytest $(ARGS)

check: install-test ## format, lint, types, floors and the tests that need no server: under a minute
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest -q $(UNIT) $(ARGS)

lock: install-test ## locks the newest versions that pyproject.toml allows, with hashes
	@export UV_NATIVE_TLS=1; uv="$(BIN)/uv pip compile $(LOCK)"; set -x; \
	$$uv --upgrade --custom-compile-command "make lock" requirements/uv.in -o requirements/uv.txt; \
	$$uv --upgrade pyproject.toml -o requirements/run.txt; \
	$$uv --upgrade pyproject.toml --group test -c requirements/run.txt -o requirements/test.txt; \
	$$uv --upgrade requirements/build.in -c requirements/test.txt -o requirements/build.txt; \
	grep '^opa-golib-python-bindings' requirements/run.txt | sed 's/ ;.*//' | \
	$(BIN)/uv pip compile $(subst 3.11,3.14,$(LOCK)) --no-annotate --no-header --no-deps - -o requirements/opa.txt

soak: install-test ## an hour of mixed load with faults; FOR=60 shortens it
	@$(BIN)/python -m bench.soak --seconds $(or $(FOR),3600)

bench: install ## the project's own benchmark
	@$(BIN)/aegis bench

docs: install-test ## checks that the documentation says what the code does
	@$(BIN)/python -m pytest -q tests/docs

clean: ## removes what can be made again
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
