# Needs python3 >= 3.11 and make, nothing else; the environment is built in .venv and never assumed active.

PYTHON ?= python3
BIN := .venv/bin
BASE ?= HEAD
SPREAD := -n auto --maxprocesses 4 --dist worksteal
STAMP := .venv/.installed

.PHONY: quickstart check test style

quickstart: $(STAMP)
	$(BIN)/truing run recipes/quickstart.yaml --out runs/quickstart

check: style
	tests=$$($(BIN)/python tests/architecture/touched.py $(BASE)) && $(BIN)/python -m pytest $(SPREAD) -m 'not slow' $$tests

test: style
	$(BIN)/python -m pytest $(SPREAD) -m 'not slow'

style: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "truing needs Python 3.11 or newer: make PYTHON=/path/to/it")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@
