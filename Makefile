# `make demo` and `make test` set themselves up; nothing need be installed first but
# Python 3.11+ and make. As root on Debian or Ubuntu missing system packages are installed too.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -qq
CLIENTS := zarr2 z5py acquire zarrita
JOBS ?= 4
PYTEST_ARGS ?=

# The tests start hundreds of daemons: each would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check lint format bench soak setup setup-test setup-bench clean

help:
	@echo 'make demo    mount a sample zip, read it with plain tools, unmount'
	@echo 'make test    install what the tests need, run them'
	@echo 'make check   lint, types, layers, spelling, demo, tests: what CI runs'
	@echo 'make bench   measure, with other file systems in the same run'
	@echo 'make format  rewrite the code the way lint wants it'

demo: setup
	@bash examples/demo.sh

test: setup-test
	@bash scripts/run_tests.sh -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

soak: setup-test
	@bash scripts/run_tests.sh -m soak $(PYTEST_ARGS)

# Targets of their own, so that `make -k lint` tells of every fault in one run.
lint: lint-ruff lint-format lint-types lint-layers lint-spelling

lint-%: $(VENV)/.test
	@case $* in \
	ruff) $(BIN)/ruff check . ;; \
	format) $(BIN)/ruff format --check . ;; \
	types) $(BIN)/mypy ;; \
	layers) $(BIN)/lint-imports ;; \
	spelling) $(BIN)/codespell ;; \
	esac

check: lint demo test

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-bench
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

setup: $(VENV)/.run
	@bash scripts/system_packages.sh run

setup-test: $(VENV)/.test
	@bash scripts/system_packages.sh test
	@for client in $(CLIENTS); do bash scripts/client_environments.sh $$client; done

setup-bench: setup-test
	@bash scripts/system_packages.sh bench
	@bash scripts/client_environments.sh ratarmount

$(BIN)/pip:
	@bash scripts/make_venv.sh $(VENV)

# Each stamp says that the environment agrees with pyproject.toml as it was then.
$(VENV)/.run: pyproject.toml | $(BIN)/pip
	$(PIP) install -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/pip
	$(PIP) install -e '.[test,check]'
	@touch $(VENV)/.run $@

clean:
	rm -rf $(VENV) .clients build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
