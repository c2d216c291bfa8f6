# metasync: `make help` lists what can be done. Every target sets up what it needs, in .venv of this checkout.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

WORKERS := 2
SECONDS := 600
SEED := 1

.PHONY: help demo test check lint format lock unit soak bench mutation docs screenshots test-metastores test-clients test-trino clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "metasync needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.*
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

demo: $(STAMP) ## Show the main job in about a minute, on a real metastore
	$(BIN)/metasync demo

test: lint ## Lint, then every test: unit, contract, integration, acceptance
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not clients and not trino"

test-clients: $(STAMP) ## Real engines on branches: SHORT=1 one format a statement, HMS=3.1.3 another metastore (Java, Maven)
	METASYNC_CLIENTS=$(if $(SHORT),short,whole) METASYNC_TEST_SERVER=$(or $(HMS),2.3.9) \
	  $(BIN)/python -m pytest -n $(WORKERS) --dist load -m clients tests/clients

test-trino: $(STAMP) ## Trino on branches (a JDK 25, Maven): HMS=3.1.3 another metastore
	METASYNC_TEST_SERVER=$(or $(HMS),2.3.9) $(BIN)/python -m pytest -m trino tests/trino

check: lint ## Lint, then the pure tests with few examples (under a minute): for every commit
	METASYNC_LAWS=few $(BIN)/python -m pytest -q -n $(WORKERS) tests/unit

unit: $(STAMP) ## Only the pure tests, with all of their examples
	$(BIN)/python -m pytest tests/unit

soak: $(STAMP) ## People and accidents on two services for SECONDS (600), by a SEED (1); then every invariant is checked
	$(BIN)/python -m tests.soak.run --seconds $(SECONDS) --seed $(SEED)

bench: $(STAMP) ## Every line of docs/performance.md's table, each beside a floor of the same run (over half an hour)
	$(BIN)/python -m benchmarks.run
	$(BIN)/python benchmarks/webhook.py

mutation: $(STAMP) ## Change planning/ word by word and see which changes the pure tests notice (20 to 30 minutes)
	METASYNC_LAWS=few $(BIN)/mutmut run
	$(BIN)/mutmut export-cicd-stats
	$(BIN)/python -c 'import json; s = json.load(open("mutants/mutmut-cicd-stats.json")); \
	  print(s, "killed: %.1f%%" % (100 * (s["killed"] + s["timeout"]) / s["total"]))'

docs: $(STAMP) ## Write the reference pages and schemas of docs/ from the code
	$(BIN)/python -m tools.reference

screenshots: $(STAMP) ## Take the pictures of docs/images of a service that runs (needs Chromium and its driver)
	$(BIN)/python -m tools.screenshots

test-metastores: $(STAMP) ## The suite on metastores 2.3.9, 3.1.3, 4.0.1, 4.1.0, 4.2.1 (Java, Maven); writes docs/compatibility.md
	$(BIN)/python -m tests.metastores.run

lint: $(STAMP) ## Format, lint, types and import floors, checked
	$(BIN)/ruff format --check metasync tests benchmarks tools
	$(BIN)/ruff check metasync tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format and mend what can be mended
	$(BIN)/ruff format metasync tests benchmarks tools
	$(BIN)/ruff check --fix metasync tests benchmarks tools

lock: ## Resolve the dependencies anew into requirements.lock
	test -x $(BIN)/uv || ($(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --python-version 3.11 --extra sandbox --extra otel --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --python-version 3.11 --constraint requirements.lock pyproject.toml -o deploy/docker/requirements.lock

clean: ## Remove what make made
	rm -rf $(VENV) mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
