# Everything a newcomer needs: Python 3.11 and make. Each target sets itself up.
#   make demo    compare the embedded pair on four tasks and write runs/demo/report/report.html
#   make test    the whole test suite
#   make quick   the tests that take a moment, while one works
#   make lowest  tests of models, attribution and commands on the lowest versions that are admitted
#   make faults  hundreds of writes that a full, read-only or failing disk refuses (half an hour)
#   make kills   200 kills of commands, each gone on with to the same bytes (ten minutes)
#   make fuzz    a million damaged files of all kinds that are read (an hour on one core)
#   make lint    formatting, types and the import order
#   make licences  whether what is installed fits together, and the licences of what a run needs
#   make docs    the documentation, in site/
#   make tiny    train the embedded family again, in build/tiny/ (about three hours on one core)
#   make vendor  fetch the page's drawing library again, as it is pinned below
#   make clean   forget the environment and what was built

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUN_STAMP := $(VENV)/.installed-for-runs

# One worker per core; `make test PYTEST_ARGS="-k graph"` runs a part in one process.
PYTEST_ARGS ?= -n auto --dist worksteal

DEMO_RUN ?= runs/demo
# Without controls and flow, which take as long again as all the rest; `mechshift run` has them.
DEMO_ARGS ?= --pool.num-examples 200 --pool.num-held-out 100 --skip controls flow

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick lowest faults kills fuzz lint licences docs tiny vendor clean

help:
	@sed -n '2,14s/^#   //p' Makefile

setup: $(STAMP)

# What a run needs; installed once, and again when the dependencies change.
$(RUN_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mechshift needs Python 3.11 or newer; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $(RUN_STAMP)

# And what tests, linters and documentation need.
$(STAMP): $(RUN_STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $(STAMP)

demo: $(RUN_STAMP)
	$(BIN)/mechshift run $(DEMO_RUN) $(DEMO_ARGS)

# One thread in each worker, of which there is one a core. Compiled modules are kept, whatever the
# environment says: tests start dozens of processes, each of which would compile the package anew.
test quick lowest faults kills fuzz: export OMP_NUM_THREADS = 1
test quick lowest faults kills fuzz: export PYTHONDONTWRITEBYTECODE =

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

quick: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow"

LOWEST := build/lowest
LOWEST_TESTS := tests/models tests/attribution/test_laws.py tests/attribution/test_eap_ig.py tests/cli \
    tests/test_artifacts.py --ignore tests/models/supply

lowest:
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check -c constraints-lowest.txt -e . \
	    pytest pytest-xdist hypothesis beartype
	$(LOWEST)/bin/python -m pytest $(PYTEST_ARGS) $(LOWEST_TESTS)

faults: export MECHSHIFT_FAULTS ?= 60
faults: setup
	$(BIN)/python -m pytest tests/test_full_disk.py

# Both are gone on with by the same command; what they found is in build/.
kills: setup
	$(BIN)/python benchmarks/kills.py $(KILLS_ARGS)

# With the records of a run: make fuzz FUZZ_ARGS="--run runs/demo".
fuzz: setup
	$(BIN)/python benchmarks/fuzz.py $(FUZZ_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/front_door_types.py
	$(BIN)/lint-imports

licences: setup
	$(BIN)/python -m pip check
	$(BIN)/python tests/test_dependencies.py

# The notebooks are executed: what an earlier build left of their runs would be taken for done.
docs: export PLOTLY_RENDERER = notebook
docs: export PYTHONWARNINGS = ignore:IProgress not found
docs: setup
	rm -rf docs/notebooks/runs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# One thread, so that a machine with other cores rounds alike. A killed training is gone on with.
tiny: export OMP_NUM_THREADS = 1
tiny: $(RUN_STAMP)
	$(BIN)/mechshift posttrain build/tiny/arm --parent untrained-tiny --objective ar --num-steps 1600 --seed 1 $(TINY)
	$(BIN)/mechshift posttrain build/tiny/mdm $(FROM_ARM) --seed 2 --first-checkpoint 32
	$(BIN)/mechshift posttrain build/tiny/other-mdm $(FROM_ARM) --seed 3
	$(BIN)/mechshift posttrain build/tiny/other-mdm-2 $(FROM_ARM) --seed 4
	$(BIN)/mechshift posttrain build/tiny/continued-arm $(FROM_ARM) --objective ar --seed 2 --first-checkpoint 32
	$(BIN)/mechshift posttrain build/tiny/continued-arm-2 $(FROM_ARM) --objective ar --seed 3
	$(BIN)/mechshift posttrain build/tiny/continued-arm-3 $(FROM_ARM) --objective ar --seed 4
	for member in mdm continued-arm; do \
	    $(BIN)/mechshift pairs pack build/tiny/arm build/tiny/$$member/checkpoints build/tiny/$$member-checkpoints; \
	done

TINY := --save-dtype bfloat16 --num-evaluated 200
FROM_ARM := --parent build/tiny/arm --num-steps 1600 --muon-learning-rate 0.01 $(TINY)

# d3 (ISC) draws the circuit explorer, and is inlined in every report. To renew: raise the version, run
# `make vendor` (it needs npm), look at what changed, and put the new sum here.
D3 := 7.9.0
D3_SHA256 := f2094bbf6141b359722c4fe454eb6c4b0f0e42cc10cc7af921fc158fceb86539
VENDOR := src/mechshift/page/vendor

vendor:
	mkdir -p build/vendor
	cd build/vendor && npm pack --silent d3@$(D3) && tar -xzf d3-$(D3).tgz
	echo "$(D3_SHA256)  build/vendor/package/dist/d3.min.js" | sha256sum --check
	cp build/vendor/package/dist/d3.min.js $(VENDOR)/d3.min.js
	cp build/vendor/package/LICENSE $(VENDOR)/d3.LICENSE

clean:
	rm -rf $(VENV) site build dist
