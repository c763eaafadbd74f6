# The one door. `make` lists the targets; each sets up first what it needs.
.DEFAULT_GOAL := help
# Compiled modules are kept: everything here starts several processes of Python.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test test-unit test-integration test-e2e check lock bench chaos dbt up down status env \
	images compose-test deploy-dags deploy-job clean

ifneq (,$(wildcard .env))
include .env
export $(shell sed -n 's/^\([A-Z][A-Z0-9_]*\)=.*/\1/p' .env)
endif

PYTHON_TO_SET_UP := $(or $(PYTHON),$(shell command -v python3.11 || command -v python3))
BIN := .venv/bin
RUN := $(BIN)/python
PYTEST := $(RUN) -m pytest --durations=10
# Importing Beam and its kin takes seconds: one of two processes does it.
UNITS_WITH_BEAM := tests/beam_jobs tests/plugins tests/dags tests/deploy tests/docs tests/dbt tests/infra
UNITS_WITHOUT := tests/collector tests/market_data tests/sandbox
# Two processes; the tests of a file that talks to emulators stay together, e2e tests come last.
IN_PARALLEL := --numprocesses 2 --dist loadgroup --no-loadscope-reorder
# Nothing newer is chosen: one coherent set, the same every time.
COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.11 --exclude-newer 2026-09-15 \
	--no-header --no-emit-index-url --upgrade
DEPLOYABLES := collector beam_jobs dags sandbox dev

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) \
		| awk -F ':.*## ' '{ printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2 }'

setup: ## make .venv and the emulators' environment (repeatable; does nothing when all is there)
	@test -n "$(PYTHON_TO_SET_UP)" || { echo "setup: no python3 found; install Python 3.11"; exit 1; }
	@$(PYTHON_TO_SET_UP) sandbox/bootstrap.py

demo: setup ## run the platform for three minutes and certify it; ARGS="--minutes 1 --exit"
	$(RUN) -m sandbox demo $(ARGS)

test: setup ## all tests in the order unit, integration, e2e
	HYPOTHESIS_EXAMPLES=$${HYPOTHESIS_EXAMPLES:-100} $(PYTEST) $(IN_PARALLEL) $(ARGS)

test-unit: setup ## tests without processes and sockets, below 10 s
	@printf '%s\n' "$(UNITS_WITH_BEAM)" "$(UNITS_WITHOUT)" | xargs -P 2 -I{} \
		sh -c '$(PYTEST) -m "not integration and not e2e" $(ARGS) {}'

test-integration: setup ## tests against real components on loopback
	$(PYTEST) -m integration $(IN_PARALLEL) $(ARGS)

test-e2e: setup ## tests of the whole platform
	$(PYTEST) -m e2e $(ARGS)

check: setup ## style, types, import contracts, SQL, generated schemas, Terraform and workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint dbt
	$(RUN) -m market_data.tables
	$(RUN) -m pytest -q tests/infra

lock: setup ## compile requirements.txt and requirements/*.txt from requirements/*.in
	$(COMPILE) $(DEPLOYABLES:%=requirements/%.in) -o requirements.txt
	$(COMPILE) requirements/emulators.in -o requirements/emulators.txt
	@set -e; for name in $(DEPLOYABLES); do \
		$(COMPILE) requirements/$$name.in -c requirements.txt -o requirements/$$name.txt; done

bench: setup ## measure every stage
	$(RUN) -m benchmarks $(ARGS)

chaos: setup ## a campaign of seeded faults, each proven to lose nothing; SEEDS=20 ARGS="--kill job"
	$(RUN) -m sandbox chaos --seeds $(or $(SEEDS),1) $(ARGS)

dbt: setup ## run dbt against the running sandbox; ARGS="build --select marts"
	cd dbt && eval "$$(cd .. && $(RUN) -m sandbox env)" && ../$(BIN)/dbt $(ARGS)

up: setup ## start the sandbox; ARGS="--ports auto"
	$(RUN) -m sandbox up $(ARGS)

down: setup ## stop the sandbox
	$(RUN) -m sandbox down

status: setup ## show the sandbox's services
	$(RUN) -m sandbox status

env: ## secrets of the compose file into .env; ARGS=live for Binance's own data
	@$(PYTHON_TO_SET_UP) -m images env $(ARGS)

images: ## build the images with docker or podman; ARGS=collector
	@$(PYTHON_TO_SET_UP) -m images build $(ARGS)

compose-test: setup ## build the images, run the compose file, check the certificate, take it down
	$(PYTEST) -m compose -s tests/compose $(ARGS)

deploy-dags: setup ## DAGs, plugins and dbt to a Composer environment; ENV=dev ARGS=--dry-run
	$(RUN) -m deploy dags --env "$(ENV)" $(ARGS)

deploy-job: setup ## the streaming job to Dataflow, in place where it runs; ENV=dev ARGS=--apply
	$(RUN) -m deploy job --env "$(ENV)" $(ARGS)

clean: ## stop the sandbox and remove its data, caches and reports (the environments stay)
	@if [ -x $(RUN) ]; then $(RUN) -m sandbox down; fi
	find .sandbox -mindepth 1 -maxdepth 1 ! -name emulators -exec rm -rf {} + 2>/dev/null || true
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache htmlcov .coverage \
		dbt/target dbt/logs
