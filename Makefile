# The commands of this repository. `make demo` and `make test` are the two that the README names.
SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
UV_VERSION := 0.13.9
CLUSTER ?= auto
export CLUSTER

.PHONY: help demo demo-down test test-matrix engine-machine fuzz-api proofs mutants bench-ledger chaos-ledger check e2e scenarios cluster cluster-down images docs lock clean

help:  ## Say what each target does.
	@sed -n 's/^\([a-z0-9-]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

$(VENV)/installed: requirements-dev.lock scripts/find-python
	@python=$$(scripts/find-python) && "$$python" -m venv --clear $(VENV)
	@$(PY) -m pip --quiet --disable-pip-version-check install uv==$(UV_VERSION)
	@$(UV) pip install --quiet --require-hashes --python $(PY) -r requirements-dev.lock
	@touch $@

demo: $(VENV)/installed  ## A cluster, a ledger and a shop: a bad version is rolled back, a good one promoted.
	@$(PY) -m tests.demo

demo-down: cluster-down  ## Remove everything that the demo made.

cluster: $(VENV)/installed  ## A real two-node Kubernetes (CLUSTER=auto|kind|local|current).
	@$(PY) -m tests.support.cluster up

cluster-down: $(VENV)/installed  ## Remove that cluster.
	@$(PY) -m tests.support.cluster down

images: $(VENV)/installed  ## Build the images and load them into the cluster.
	@$(PY) -m tests.support.cluster images

test: $(VENV)/installed  ## Everything that needs no cluster, with a real Postgres.
	@$(PY) -m pytest -q -n $(or $(WORKERS),3) --dist loadfile --no-loadscope-reorder

test-matrix: $(VENV)/installed  ## The ledger's tests on PostgreSQL 15, 16, 17 and 18 (SKIP="16 17" leaves some out).
	@PYTHONPATH=operator:. $(PY) -m tests.matrix $(or $(TESTS),tests/postgres) $(if $(SKIP),--skip $(SKIP))

engine-machine: $(VENV)/installed  ## Engines at once on a real Postgres, harmed at random (EXAMPLES=1000), each time otherwise.
	@ENGINE_EXAMPLES=$(or $(EXAMPLES),1000) $(PY) -m pytest -q tests/postgres/test_engine_machine.py

fuzz-api: $(VENV)/installed  ## Schemathesis against the API: no answer that its document does not promise.
	@PYTHONPATH=operator:. $(PY) -m tests.fuzz

e2e: $(VENV)/installed  ## The proofs on the cluster (makes one if there is none).
	@$(PY) -m pytest -q -m e2e tests/e2e

scenarios: $(VENV)/installed  ## Six kinds of challenger on the cluster, five times each (RUNS=, RATE=, ONLY="errors blind"); writes docs/scenarios.md.
	@PYTHONPATH=operator:. $(PY) -m tests.scenarios --runs $(or $(RUNS),5) --rate $(or $(RATE),40) $(if $(ONLY),--only $(ONLY))

proofs: $(VENV)/installed  ## The promises of the decision, with fresh seeds (RUNS=, SEED=, ONLY=outages or uneven); writes docs/statistics.md.
	@PYTHONPATH=operator:. $(PY) -m tests.proofs --runs $(or $(RUNS),2000) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only-$(ONLY))

mutants: $(VENV)/installed  ## Break the pure cores in small ways: does a test notice? (PACKAGE=stats|ledger, WORKERS=2)
	@PYTHONPATH=operator:. $(PY) -m tests.mutation $(PACKAGE) --workers $(or $(WORKERS),2)

bench-ledger: $(VENV)/installed  ## How fast the ledger is, beside two yardsticks: docs/benchmarks.md (QUICK=1: a short look).
	@PYTHONPATH=operator:. $(PY) -m tests.bench $(if $(QUICK),--quick)

chaos-ledger: $(VENV)/installed  ## Kill API, keeper and Postgres under load and count (SECONDS=600).
	@own=$$(test "$$(id -u)" = 0 && echo unshare --mount --propagation private); \
	  PYTHONPATH=operator:. $$own $(PY) -m tests.chaos --seconds=$(or $(SECONDS),600)

check: $(VENV)/installed  ## Format, lint, types, layers, SQL, charts, CRDs.
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/mypy
	@PYTHONPATH=operator:. $(VENV)/bin/lint-imports
	@$(VENV)/bin/sqlfluff lint operator/shieldx/ledger/sql
	@PYTHONPATH=operator:. $(PY) scripts/generate-docs --check
	@$(PY) -m pytest -q tests/check

docs: $(VENV)/installed  ## Regenerate the pages that are made from code.
	@PYTHONPATH=operator:. $(PY) scripts/generate-docs

lock: $(VENV)/installed  ## Resolve the dependencies anew into the lock files.
	@$(UV) pip compile --quiet --no-header --generate-hashes --universal --python-version 3.12 \
	  --no-emit-index-url --no-emit-find-links --no-annotate -o requirements.lock pyproject.toml
	@$(UV) pip compile --quiet --no-header --generate-hashes --universal --python-version 3.12 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --extra embedded --group dev \
	  -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:  ## Remove the environment and caches of this checkout.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
