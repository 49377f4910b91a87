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
	@$(RUN) -m tests.stories.demo

test: setup ## every test (see README: what it does and how long)
	@bash tools/test

test-broken: setup ## break one thing in each step of the story and see that the story notices
	@$(RUN) -m tests.stories.broken

screenshots: setup ## the main job in a browser alone, which takes the tutorials' pictures
	@$(RUN) -m pytest -q tests/stories/test_browser.py

cluster-up: setup ## raise a real Kubernetes in a network namespace (the first time builds it: about 25 minutes)
	@bash tools/cluster up

test-cluster: setup ## the chart, tunnels and all of sulku on a real Kubernetes (not part of `make test` yet: see CHANGELOG)
	@bash tools/test-cluster

test-full: setup ## the same with every row of every table, instead of some (hours)
	@SULKU_EVERY=1 bash tools/test-cluster

cluster-down: setup ## stop it and leave nothing behind
	@bash tools/cluster down

check: setup ## lint, types, import contracts, docs
	@bash tools/check

fix: ## format and repair what can be repaired by itself
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup ## measure, ratios side by side in one run
	@$(RUN) -m tests.bench

bench-scale: setup ## hundreds and thousands of tunnels on a real API server, beside KubeSpawner
	@bash tools/cluster packages && $(RUN) -m tests.cluster.scale --peers 100

docs: setup ## build the documentation into docs/_build
	@bash tools/docs

lock: ## recompile the hashed locks
	@bash tools/lock

clean: ## remove what was made in the tree (not the cache)
	@rm -rf .venv build var docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis
