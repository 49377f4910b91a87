# Every verb of the repository. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CACHE ?= $(HOME)/.cache/sulku
BIN := .venv/bin
RUN := PYTHONPATH=src:. $(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test test-broken screenshots cluster-up test-cluster test-full cluster-down check fix bench bench-scale docs lock clean

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything that the demo and the tests need (fast the second time)
	@bash tools/setup

demo: setup ## the whole story on real data, live; then keeps serving if a terminal is attached
	@tools/as-root env $(RUN) -m tests.stories.demo

test: setup ## every test (see README: what it does and how long)
	@tools/as-root bash tools/test

test-broken: setup ## break one thing in each step of the story and see that the story notices
	@tools/as-root env $(RUN) -m tests.stories.broken

screenshots: setup ## the main job in a browser alone, which takes the tutorials' pictures
	@tools/as-root env $(RUN) -m pytest -q tests/stories/test_browser.py

cluster-up: setup ## raise a real Kubernetes in a network namespace (the first time builds it: about 12 minutes)
	@tools/as-root bash tools/cluster up

test-cluster: setup ## of these, what needs a real Kubernetes
	@tools/as-root bash -ec 'for part in tunnels installed; do tools/lanes "$$part=bash tools/test-cluster $$part"; done'

test-full: setup ## every test with every row of every table, instead of some (hours)
	@SULKU_EVERY=1 tools/as-root bash tools/test

cluster-down: setup ## stop it and leave nothing behind
	@tools/as-root bash tools/cluster down

check: setup ## lint, types, import contracts, docs
	@bash tools/check

fix: ## format and repair what can be repaired by itself
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup ## measure, ratios side by side in one run
	@tools/as-root env $(RUN) -m tests.bench

bench-scale: setup ## hundreds and thousands of tunnels on a real API server, beside KubeSpawner
	@tools/as-root bash -c 'bash tools/cluster packages && env $(RUN) -m tests.cluster.scale --peers 100'

docs: setup ## build the documentation into docs/_build
	@bash tools/docs

lock: ## recompile the hashed locks
	@bash tools/lock

clean: ## remove what was made in the tree (not the cache)
	@rm -rf .venv build var docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
