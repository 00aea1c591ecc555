# Every target makes what it needs, the virtual environment included: `git clone; make demo` is enough.
#   make demo [SF=1]     TPC-H larger than the object store through Dask, Modin and plain tasks
#   make test [ARGS=...] unit and integration tests, a part of Dask's and of Modin's own; or what
#                        ARGS tells pytest
#   make dask-suite [ARGS=..]  all of Dask's own tests on the engine: hours; it goes on where it was
#   make modin-suite [ARGS=..] all of Modin's own tests on the engine: hours; it goes on as well
#   make lint            ruff, mypy --strict, import rules
#   make format          apply ruff's formatting and safe fixes
#   make bench [ARGS=..] the benchmarks, side by side with the peers
#   make docs            the documentation, into docs/_build/html
#   make clean           remove everything made by make, the virtual environments included

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test

PYTHON ?= python3
SF ?= 1
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs
# The peers bring a hundred packages of their own: they stay out of the other targets' way.
BENCH_VENV := .venv-bench
BENCH := $(BENCH_VENV)/.installed-bench
# Neither do those that only Modin's tests import.
MODIN_VENV := .venv-modin
MODIN := $(MODIN_VENV)/.installed-modin-suite
OURS := adapters backend benchmarks demo examples integration objectstore scheduler tests

.PHONY: demo test dask-suite modin-suite lint format bench docs clean

demo: $(DEV)
	$(BIN)/python -m demo --scale-factor $(SF)

test: $(DEV) $(if $(ARGS),,$(MODIN))
	$(BIN)/python -m pytest $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m integration.dask_suite --quick)
	$(if $(ARGS),,$(MODIN_VENV)/bin/python -m integration.modin_suite --quick)

dask-suite: $(DEV)
	$(BIN)/python -m integration.dask_suite $(ARGS)

modin-suite: $(MODIN)
	$(MODIN_VENV)/bin/python -m integration.modin_suite $(ARGS)

lint: $(DEV) link-tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.lint $(BIN)/mypy -p millpond -p demo -p benchmarks
	MYPYPATH=.lint $(BIN)/mypy examples
	PYTHONPATH=.lint $(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH)
	$(BENCH_VENV)/bin/python -m benchmarks $(ARGS)

docs: $(DOCS)
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

clean:
	rm -rf .dask-suite.json .modin-suite .venv .venv-bench .venv-modin .lint .data build dist docs/_build millpond.egg-info
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(OURS) -name __pycache__ -type d -prune -exec rm -rf {} +

# Static tools do not read setuptools' map from folders to import names, and an editable install
# misses files added later. A tree of links, made anew each time, always shows what is there.
.PHONY: link-tree
link-tree:
	@rm -rf .lint && mkdir -p .lint/millpond
	@for entry in backend/*; do ln -s "../../$$entry" ".lint/millpond/"; done
	@for package in objectstore scheduler adapters; do ln -s "../../$$package" ".lint/millpond/"; done

%/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "millpond needs Python 3.11 or newer: set PYTHON=, this is $$($(PYTHON) -V)" >&2; exit 1; }
	$(PYTHON) -m venv $*

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

$(DOCS): pyproject.toml $(DEV)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

$(MODIN): pyproject.toml | $(MODIN_VENV)/bin/python
	$(MODIN_VENV)/bin/python -m pip install --quiet --editable '.[modin-suite]'
	@touch $@

$(BENCH): pyproject.toml | $(BENCH_VENV)/bin/python
	$(BENCH_VENV)/bin/python -m pip install --quiet --editable '.[bench]'
	@touch $@
