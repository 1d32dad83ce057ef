# Needs python3 >= 3.11 and make, nothing else; the environment is built in .venv and never assumed active.

PYTHON ?= python3
BIN := .venv/bin
BASE ?= HEAD
SPREAD := -n auto --maxprocesses 4 --dist worksteal
STAMP := .venv/.installed

.PHONY: quickstart check test slow style lint types types-of-benchmarks tests-of-change docs dist fresh lowest newest

quickstart: $(STAMP)
	$(BIN)/truing run recipes/quickstart.yaml --out runs/quickstart

# Side by side: none needs another, and each waits for files or leaves a core idle for a while.
check: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 4 lint types types-of-benchmarks tests-of-change

test: style
	$(BIN)/python -m pytest $(SPREAD) -m 'not slow'

# All that `make test` leaves out, the installations of `make fresh` among it: half an hour, and a network.
slow: $(STAMP)
	$(BIN)/python -m pytest $(SPREAD) -m slow -rP

style: lint types types-of-benchmarks

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)
	$(BIN)/mypy

types-of-benchmarks: $(STAMP)
	$(BIN)/mypy --config-file benchmarks/mypy.ini

tests-of-change: $(STAMP)
	tests=$$($(BIN)/python tests/architecture/touched.py $(BASE)) && $(BIN)/python -m pytest $(SPREAD) -m 'not slow and not long' $$tests

# Wheel and sdist, into dist/.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build

# Both in new environments with libraries of their own: the quickstart, far from here. Minutes, and a network.
fresh: $(STAMP)
	$(BIN)/python -m pytest tests/release -m slow -rP

# The tests that meet libraries most, at the lowest versions that pyproject.toml asks for, and at the newest there are.
lowest: CONSTRAINED := --constraint constraints-lowest.txt
newest: CONSTRAINED := --upgrade --upgrade-strategy eager
MEETING := tests/cli/test_main.py tests/cli/test_validate.py tests/core tests/data tests/export tests/functional \
	tests/models tests/pipeline/test_fork.py tests/stages tests/training
lowest newest:
	$(PYTHON) -m venv .venv-$@
	.venv-$@/bin/python -m pip install --quiet $(CONSTRAINED) --editable '.[test]'
	.venv-$@/bin/python -m pip check
	.venv-$@/bin/python -m pytest $(SPREAD) -m 'not slow' -W default $(MEETING)

# The pages as a site, offline.
docs: $(STAMP)
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs/site . site
	@echo 'site/index.html'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "truing needs Python 3.11 or newer: make PYTHON=/path/to/it")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@
