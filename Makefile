# graphc: every command a developer needs. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SEED ?= 0
ARGS ?=
export VENV

.DEFAULT_GOAL := help
.PHONY: help setup test lint format demo soak bench clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(VENV)/.dev  ## make .venv, or renew it when pyproject.toml changed

test: setup  ## linters, types, layers and tests; a seeded subset of what soak runs
	@.ci/check test -n 2 --seed=$(SEED) $(ARGS)

lint: setup  ## linters, types and layers
	@.ci/check lint

format: setup  ## let ruff mend what it can
	@$(VENV)/bin/ruff check --fix-only --quiet .
	@$(VENV)/bin/ruff format .

demo: setup  ## train, compile and run a small network, here, from C and on a cluster
	@$(PY) examples/demo.py $(ARGS)

soak: $(VENV)/.bench  ## the long randomised runs; a fresh seed unless SEED is given
	@seed=$(if $(filter 0,$(SEED)),$$(date +%s),$(SEED)); echo "SEED=$$seed"; \
	$(VENV)/bin/pytest -n 2 --soak --seed=$$seed --hypothesis-seed=$$seed --timeout=3600 $(ARGS)

bench: $(VENV)/.bench  ## measure graphc and its peers on this machine
	@$(PY) benchmarks/run.py $(ARGS)

clean:  ## remove .venv, caches and what was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# A stamp for each set of extras: nothing is installed again until the project's files change.
$(VENV)/.dev: $(VENV)/.python pyproject.toml graphc/version.py
	@echo "Installing graphc and its development tools into $(VENV)"
	@$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "Installing the peers that graphc is compared with into $(VENV)"
	@$(PY) -m pip install --quiet --editable '.[dev,bench]'
	@touch $@

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "graphc needs Python 3.11 or newer; $(PYTHON) is not. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "No virtual environment could be made (Debian, Ubuntu: apt-get install python3-venv)."; exit 1; }
	@touch $@
