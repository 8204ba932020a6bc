# Everything a newcomer needs: Python 3.11 and make. Each target sets itself up.
#   make test    the whole test suite
#   make lint    formatting, types and the import order
#   make clean   forget the environment and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One worker per core; `make test PYTEST_ARGS="-k graph"` runs a part in one process.
PYTEST_ARGS ?= -n auto

.DEFAULT_GOAL := help
.PHONY: help setup test lint clean

help:
	@sed -n '2,4s/^#   //p' Makefile

setup: $(STAMP)

# Installed once, and again when the dependencies change.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mechshift needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $(STAMP)

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) site build dist
