# Everything is set up as it is needed: `make run` and `make test` work in a fresh checkout.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; break; fi; done)
VENV := .venv
BIN := $(VENV)/bin
# Beside two that compute, one mostly waits for a browser.
WORKERS ?= 3
# Where a wheel is missing the standard library's SQLite does; nothing is ever compiled.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary pysqlite3
# Exact versions with the hashes of their files for every platform. Where packages come from is told to uv by its own settings.
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --group build \
	--custom-compile-command "make constraints"
RUN_EXTRAS := --extra alerts --extra mcp --extra otel --extra postgres
# What pytest makes of the tests' asserts takes seconds for each worker, and is kept from run to run where it may be.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
ARGS ?=
N ?=
SEEDS ?= 1000

.PHONY: help run test long check static audit scenarios powerloss kill9 bench bench-calls bench-verify bench-polling bench-flood bench-readers bench-retention bench-scale bench-webhooks bench-workers browser hostile sim mutants docs wheel constraints clean

help: ## say what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1|/' | column -t -s '|'

$(VENV)/.run: pyproject.toml requirements/run.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python cannot make a virtual environment (on Debian: apt install python3-venv)"; exit 1; }
	@echo "setting up $(VENV) (once)"
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q tracking pages dashboard.py # pip does so for all the rest; no start is to wait for it
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt
	@echo "setting up the tests (once)"
	@$(PIP) --require-hashes -r requirements/test.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.test requirements/dev.txt
	@echo "setting up the linters (once)"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

run: $(VENV)/.run ## start the console at http://127.0.0.1:8501
	@exec $(BIN)/streamlit run dashboard.py $(ARGS)

test: $(VENV)/.test ## run all tests but the long ones (ARGS="-k name" for some)
	@tests/browser/find-chromium >/dev/null || true
	@tests/operating/find-tools || true
	@$(PYTEST) -n $(WORKERS) --dist worksteal $(ARGS)

long: $(VENV)/.test ## the long versions of tests without a browser: each scenario with more orders, refused credentials
	@$(PYTEST) -n $(WORKERS) --dist worksteal -m "long and not browser" $(ARGS)

static: $(VENV)/.dev ## format, lint, types, import contracts and security lint, without tests
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --recursive tracking pages dashboard.py

audit: $(VENV)/.dev ## known vulnerabilities of the pinned packages (asks a service on the network)
	@$(BIN)/python tests/support/vulnerabilities.py $(ARGS)

check: static test ## everything CI runs

scenarios: $(VENV)/.test ## every scenario over HTTP with 200 + 50 orders (half an hour; ARGS="normal" for some)
	@$(BIN)/python tests/processes/all_scenarios.py $(ARGS)

powerloss: $(VENV)/.test ## lose the power N times for each way to keep a store; ours must lose nothing (5 minutes)
	@$(BIN)/python tests/powerloss/losses.py --cuts $(or $(N),100) $(ARGS)

kill9: $(VENV)/.test ## kill consoles N times under load and ask what was lost (N=200: a quarter of an hour)
	@$(BIN)/python tests/processes/kill9.py --kills $(or $(N),200) $(ARGS)

bench-verify: $(VENV)/.test ## measure how long verifying a million events takes (ARGS="100000" for fewer)
	@$(BIN)/python tests/bench/bench_verify.py $(ARGS)

sim: $(VENV)/.test ## histories full of mishaps, one for each seed (SEEDS=10000; ARGS="--first 17" to begin there)
	@$(BIN)/python tests/simulation/simulate.py seeds --seeds $(SEEDS) $(ARGS)

mutants: $(VENV)/.test ## plant faults of design and see that the simulation finds each (SEEDS=1000 at the most)
	@$(BIN)/python tests/simulation/simulate.py mutants --seeds $(SEEDS) $(ARGS)

bench: $(VENV)/.test ## measure speed and memory, as ratios within one run
	@$(BIN)/python tests/bench/bench.py $(ARGS)

bench-calls: $(VENV)/.test ## measure polls and POSTs over real sockets, against bare httpx (ARGS="2" for fewer turns)
	@$(BIN)/python tests/bench/provider_calls.py $(ARGS)

bench-polling: $(VENV)/.test ## judge the schedule against the optimum, doubling waits, the budget and a running console (8 minutes)
	@$(BIN)/python tests/bench/bench_polling.py $(ARGS)

bench-retention: $(VENV)/.test ## measure what an order takes, and what stays of it once its log left (ARGS="10000" for more)
	@$(BIN)/python tests/bench/bench_retention.py $(ARGS)

bench-flood: $(VENV)/.test ## measure a worker under 1,000 hostile calls a second (ARGS="--seconds 5" for less)
	@$(BIN)/python tests/bench/bench_flood.py $(ARGS)

bench-scale: $(VENV)/.test ## see which read of a page grows on stores of up to ORDERS orders, and how 1, 2 and 4 workers share PostgreSQL (an hour; ARGS="--keep FOLDER")
	@missed=0; $(BIN)/python tests/bench/scale.py --orders $(or $(ORDERS),1000000) $(ARGS) || missed=1; \
		$(BIN)/python tests/bench/scale_workers.py || missed=1; exit $$missed

bench-workers: $(VENV)/.test ## measure how 1, 2 and 4 workers share one PostgreSQL store (ARGS="--orders 300 --sandbox")
	@$(BIN)/python tests/bench/scale_workers.py $(ARGS)

bench-readers: $(VENV)/.test ## measure callbacks beside somebody who reads, with each driver of SQLite
	@$(BIN)/python tests/bench/bench_readers.py $(ARGS)

bench-webhooks: $(VENV)/.test ## measure webhooks over real sockets against a bare endpoint, with each driver of SQLite
	@$(BIN)/python tests/bench/bench_webhooks.py $(ARGS)

browser: $(VENV)/.test ## all tests in a browser, also the long ones: the tasks by mouse too, each page for half a minute
	@tests/browser/find-chromium >/dev/null || true
	@$(PYTEST) -n $(WORKERS) --dist worksteal -m browser tests/browser $(ARGS)

hostile: $(VENV)/.test ## send N generated hostile requests to the receiver (ARGS="--seed 1" to repeat a run)
	@$(BIN)/python tests/support/hostile.py --calls $(or $(N),100000) $(ARGS)

docs: $(VENV)/.run ## write the tree of the modules into docs/architecture.md, from their docstrings
	@$(BIN)/python tests/docs/architecture_tree.py

wheel: $(VENV)/.run ## build the package into dist/, pages included
	@$(BIN)/python -m hatchling build -t wheel -d dist

constraints: $(VENV)/.dev ## resolve the pinned packages anew, as few of them as it takes (ARGS=--upgrade for all)
	@$(COMPILE) --all-extras $(ARGS) -o requirements/dev.txt
	@$(COMPILE) $(RUN_EXTRAS) --extra test -c requirements/dev.txt -o requirements/test.txt
	@$(COMPILE) $(RUN_EXTRAS) -c requirements/dev.txt -o requirements/run.txt

clean: ## remove the virtual environment and all caches, never data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
