# Each target makes all that it needs: a clone and Python 3.11 or newer are enough.

.PHONY: help setup demo test lock

help: ## what there is (this list)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

setup: ## the environment .venv and bubblewrap
	@scripts/setup

demo: ## grade a class of made-up submissions, from release to report
	@scripts/setup
	@.venv/bin/autograder demo

test: ## all tests
	@scripts/setup tests
	@.venv/bin/python tests/run.py $(ARGS)

lock: setup ## pin again what pyproject.toml asks for (newer versions: make lock ARGS=--upgrade)
	@scripts/uv pip compile --universal --python-version 3.11 pyproject.toml --extra dev \
		--quiet --no-header --no-annotate --output-file requirements.lock $(ARGS)
