# Two commands do everything on a fresh machine: `make demo` and `make test`. See also `make check`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/quickstart
SOURCES := src tests benchmarks docs

.PHONY: demo test test-all check lint format clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# Searches a network for this machine on real data, offline; ends with a report and a model file.
# A demo that was stopped goes on where it was; `make demo RUN=runs/another` starts a fresh one.
demo: $(VENV)/installed
	@if [ -e $(RUN)/study.db ]; then $(BIN)/hwnas resume $(RUN); \
	else $(BIN)/hwnas search examples/quickstart.yaml --run $(RUN); fi
	@$(BIN)/hwnas show $(RUN)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m "not slow and not gpu"

test-all: $(VENV)/installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
