# make demo   set up and search real pictures three ways
# make test   set up and pass the tests
# make lint   ruff and mypy

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint chromium
demo: .venv/.installed-cpu
	$(BIN)/mmsearch demo

test: .venv/.installed-dev chromium
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

# The tests of the page are skipped without a browser.
chromium:
	@command -v chromium >/dev/null || \
	{ test "$$(id -u)" = 0 && apt-get -qq update && apt-get -qq -y install chromium; } \
	>/dev/null 2>&1 || echo "the tests of the page are skipped: apt-get install chromium"

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed-cpu: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cpu]'
	touch $@

# Of 17,000 modules the tests import few: these are compiled as they are imported.
.venv/.installed-dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[cpu,dev]'
	touch $@ .venv/.installed-cpu
