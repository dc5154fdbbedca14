# A fresh machine with Python 3.11 or newer and make is enough: each target does its own set-up, once.
PYTHON ?= python3
VENV ?= .venv
# Handed on to the program or the tests: `make demo ARGS=--once`, `make test ARGS="-k retry"`.
ARGS ?=

bin := $(VENV)/bin
sources := gateway config_server clients/python tests docs
main_ref = $(firstword $(foreach ref,origin/main main,$(shell git rev-parse --quiet --verify $(ref) 2>/dev/null)))

# Where this is set, every process would compile all modules anew, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

# For large environments of which tests use a part: the newer pip of ours installs them, and what is imported is compiled then.
sparingly := --quiet --no-compile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup components demo test test-granian check format lint types imports proto proto-check docs docs-check bench bench-config \
  bench-balancing bench-cache bench-translation bench-policies bench-upstreams bench-instructions soak clients clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## Make .venv with all that work on Janua needs

components: $(VENV)/.components $(VENV)/mlserver/.made $(VENV)/frameworks/.made $(VENV)/interop/.made $(VENV)/node/.made ## Install the outside components that some tests need

# The echo model needs none of the 290 MB that the real one does.
demo: $(if $(findstring echo,$(ARGS)),$(VENV)/.janua,$(VENV)/.demo) ## Run Janua before two local models (ARGS=--once, ARGS="--model echo")
	$(bin)/janua demo $(ARGS)

# Many of the tests start real processes, four files beside each other: what fails is run once more, alone. A second failure
# counts; a first one stands in the output, as a test to be mended.
test: $(VENV)/.dev ## Run the tests, several files at once (ARGS="-k words")
	@$(bin)/pytest --numprocesses 4 --dist loadfile $(ARGS) || { \
	  code=$$?; [ $$code -eq 1 ] || exit $$code; \
	  echo 'Tests failed beside others: once more, alone' >&2; \
	  $(bin)/pytest --last-failed --last-failed-no-failures none --maxfail 3 $(ARGS); }

test-granian: $(VENV)/.dev ## Run the conformance tests on nodes with --server granian (ARGS="-k words")
	@JANUA_HTTP_SERVER=granian $(bin)/pytest --numprocesses 4 --dist loadfile tests/conformance $(ARGS)

check: lint types imports proto-check docs-check ## Everything that needs no test: format, lint, types, imports, protos

format: $(VENV)/.dev ## Format Python and protos, and fix what can be fixed
	$(bin)/ruff format
	$(bin)/ruff check --fix
	$(bin)/buf format -w

lint: $(VENV)/.dev ## Format and lint, without changing anything
	$(bin)/ruff format --check
	$(bin)/ruff check

types: $(VENV)/.dev ## Check types
	$(bin)/mypy --strict $(sources)

imports: $(VENV)/.dev ## Check who imports whom
	$(bin)/lint-imports

proto: $(VENV)/.dev ## Make proto/gen again from the .proto files
	rm -rf proto/gen
	proto/generate.sh $(abspath $(bin)/python) proto/gen

# The protos of main are unpacked rather than read by buf from .git, which a shallow clone would not let it do.
proto-check: $(VENV)/.dev ## Lint the protos, compare them with those of main, and proto/gen with them
	$(bin)/buf lint
	$(bin)/buf format -d --exit-code
	@if [ -n "$(main_ref)" ] && git cat-file -e "$(main_ref):proto/janua" 2>/dev/null; then \
	  set -e; old=$$(mktemp -d); trap 'rm -rf "$$old"' EXIT; \
	  git archive "$(main_ref)" buf.yaml proto | tar -x -C "$$old"; \
	  echo "buf breaking --against main ($(main_ref))"; $(bin)/buf breaking --against "$$old"; \
	else echo "buf breaking skipped: no branch main with protos to compare with"; fi
	@set -e; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	log=$$(proto/generate.sh $(abspath $(bin)/python) "$$new" 2>&1) || { echo "$$log" >&2; exit 1; }; \
	diff -r -x __pycache__ proto/gen "$$new" || { echo "proto/gen is out of date: run make proto" >&2; exit 1; }

docs: $(VENV)/.dev ## Make the pages that come from the .proto files again, and docs/conformance.md from the tests
	$(bin)/python docs/make_reference.py
	$(bin)/python docs/make_conformance.py

docs-check: $(VENV)/.dev ## Compare what comes from the .proto files with them, docs/conformance.md with the tests
	$(bin)/python docs/make_reference.py --check
	$(bin)/python docs/make_conformance.py --check

bench: $(VENV)/.dev ## Measure a node against a bare relay (ARGS=--all for every target)
	$(bin)/python -m tests.benchmarks.bench_gateway $(ARGS)

bench-config: $(VENV)/.components ## Measure a fleet on one config server, and on three over PostgreSQL
	$(bin)/python -m tests.benchmarks.bench_config $(ARGS)

bench-balancing: $(VENV)/.dev ## Measure picks of endpoints, and how they are spread
	$(bin)/python -m tests.benchmarks.bench_balancing $(ARGS)

bench-cache: $(VENV)/.dev ## Measure what a cache costs and saves
	$(bin)/python -m tests.benchmarks.bench_cache $(ARGS)

bench-translation: $(VENV)/.dev ## Measure what it costs to translate between dialects
	$(bin)/python -m tests.benchmarks.bench_translation $(ARGS)

bench-policies: $(VENV)/.dev ## Measure what keys and limits cost a request
	$(bin)/python -m tests.benchmarks.bench_policies $(ARGS)

bench-upstreams: $(VENV)/.components ## Measure pools with failing endpoints beside a real Envoy (ARGS=--short)
	$(bin)/python -m tests.benchmarks.bench_upstreams $(ARGS)

bench-instructions: $(VENV)/.dev ## Count the instructions of a request in the gateway itself (needs valgrind)
	$(bin)/python -m tests.benchmarks.bench_instructions $(ARGS)

soak: $(VENV)/.dev ## Run the long tests
	$(bin)/pytest -m soak --timeout 3600 $(ARGS)
	JANUA_KILLS=200 $(bin)/pytest tests/config_server/faults $(ARGS)

clients: $(VENV)/.dev ## Build the client packages into dist/
	$(bin)/pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove all that can be made again, .venv too
	rm -rf $(VENV) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(sources) proto -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: each names what has been installed, and is made again when pyproject.toml changes.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit("Janua needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet --upgrade 'pip>=25.1'  # the first that knows dependency groups
	@touch $@

$(VENV)/.janua: pyproject.toml | $(VENV)/.made
	$(bin)/pip install --quiet --editable .
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/.made
	@echo 'Installing Janua and a language model of 290 MB, once'
	$(bin)/pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(bin)/pip install --quiet --editable . --group dev
	@touch $@

$(VENV)/.components: pyproject.toml | $(VENV)/.made
	$(bin)/pip install --quiet --editable '.[demo]' --group components
	@touch $@

# An environment of its own: one process cannot have both MLServer's protobuf package `inference` and ours.
$(VENV)/mlserver/.made: tests/support/mlserver/requirements.txt | $(VENV)/.made
	@echo 'Installing MLServer and tritonclient (500 MB), once'
	$(bin)/python -m venv --without-pip $(VENV)/mlserver
	$(bin)/pip --python $(VENV)/mlserver/bin/python install $(sparingly) --requirement $<
	@touch $@

# Clients that pull in much: frameworks beside the clients that we test with ourselves.
$(VENV)/frameworks/.made: tests/support/frameworks/requirements.txt | $(VENV)/.made
	$(bin)/python -m venv --without-pip $(VENV)/frameworks
	$(bin)/pip --python $(VENV)/frameworks/bin/python install $(sparingly) --requirement $<
	@touch $@

# Clients of discovery. Their xds-protos overwrites files of other distributions and must stay out of our environment.
$(VENV)/interop/.made: tests/support/interop/requirements.txt | $(VENV)/.made
	$(bin)/python -m venv --without-pip $(VENV)/interop
	$(bin)/pip --python $(VENV)/interop/bin/python install $(sparingly) --requirement $<
	@touch $@

# Without a lock file, which would name hosts; the versions in package.json are exact.
$(VENV)/node/.made: tests/support/node/package.json | $(VENV)/.made
	@if ! command -v npm >/dev/null; then echo 'npm is absent, and with it the clients for Node' >&2; exit; fi; \
	set -ex; mkdir -p $(VENV)/node; cp $< $(VENV)/node; \
	npm install --prefix $(VENV)/node --no-package-lock --ignore-scripts --no-audit --no-fund --loglevel error; \
	touch $@
