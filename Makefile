# Every target installs what it needs first.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: install quickstart real test coverage check bench bench-trust bench-paper lab smollm2 clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	touch .venv/installed

quickstart: install
	$(BIN)/ppm quickstart

# A real chat model: fetched (93 MB), patched, tested on this machine.
real: install
	$(BIN)/ppm quickstart --base smollm2

test: install
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# The tests again, more slowly, with the lines that none of them runs.
coverage: install
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A few minutes; composition.py and fixed_text.py take hours and are run by hand.
bench: install
	for script in startup prefix error_rates; do $(BIN)/python benchmarks/$$script.py || exit 1; done

# What a package manager must not get wrong, more than an hour: 20,000 universes against brute force, large indexes, a long
# history, 100,000 hostile files, and a kill before every change of the disk.
bench-trust: install
	for script in universes resolve deployments fuzz kills; do $(BIN)/python benchmarks/$$script.py || exit 1; done

# The experiments of the paper, from nothing: at most 45 minutes on two cores. Writes docs/paper.md and its plots.
bench-paper: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group figures
	$(BIN)/python benchmarks/paper.py

# Train the lab's models and patches from nothing and put them where they ship.
lab: install
	$(BIN)/ppm lab build --output build/lab
	$(BIN)/python -m ppm.lab.ship build/lab

# Train SmolLM2's patches from nothing, compose and test them, and put them where they ship: hours.
smollm2: install
	manifests/smollm2/ship.sh

clean:
	rm -rf .venv build dist
