# make demo   set up and search real pictures three ways
# make test   set up and pass the tests
# make lint   ruff and mypy

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint
demo: .venv/.installed-cpu
	$(BIN)/mmsearch demo

test: .venv/.installed-dev
	$(BIN)/python -m pytest

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed-cpu: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu]'
	touch $@

.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu,dev]'
	touch $@ .venv/.installed-cpu
