# Everything a newcomer needs: `make quickstart`, then `make test`.
PYTHON ?= python3
# Processes of the tests, one thread each; a file of tests stays in one of them.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart test quick lint check notebooks clean

quickstart: $(INSTALLED)   ## Align emoji pictures with their names; minutes on two cores
	$(BIN)/edge-glass data build emoji
	$(BIN)/edge-glass train configs/quickstart.yaml --resume

test: $(INSTALLED)         ## What CI runs: lint, types, all tests
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long" -n $(WORKERS) --dist loadfile

quick: $(INSTALLED)        ## The fast tests only
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not long and not slow and not weights" -n $(WORKERS) --dist loadfile

lint: $(INSTALLED)         ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test           ## All of it

notebooks: $(INSTALLED)    ## Write the .ipynb beside each lesson
	$(BIN)/jupytext --sync notebooks/*.py

# Written last, so that an installation that was interrupted is taken up again.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:                     ## Remove the environment and what tools left behind
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
