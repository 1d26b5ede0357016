# The commands of convscope's house. Each target sets up what it needs and is quick the second time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PRESET ?= quick
DATA ?=
BUDGET ?= 12m
ARGS ?=
FITTED := $(if $(filter quick,$(PRESET)),$(if $(BUDGET),--budget $(BUDGET)))

.PHONY: help study demo test slow cluster check bench calibrate torture gpu clean
.DEFAULT_GOAL := help

help:
	@echo 'make study            set up, then study CIFAR-10 in 12 minutes: runs/cifar10-quick/report.html'
	@echo '                      DATA=folder-or-name BUDGET=1h ARGS="--seeds 3"; BUDGET= asks all'
	@echo '                      questions, however long that takes; PRESET=standard|full'
	@echo 'make demo             a study of the built-in images, no internet needed once set up'
	@echo 'make test             the tests: minutes; all but those of make slow and make cluster'
	@echo 'make slow             the tests that take longest: whole studies, deaths at every write'
	@echo 'make cluster          studies on a Ray cluster whose nodes and head die (minutes)'
	@echo 'make check            ruff, pyright, import contract, documentation'
	@echo 'make bench            speed against peers, side by side in one run (about 90 minutes)'
	@echo 'make calibrate        how often each verdict is false, by simulation (minutes)'
	@echo 'make torture          1,000 damaged files: each is named, or harmless (ARGS="--faults 100")'
	@echo 'make gpu              does it work on this GPU, and how fast? needs torch, numpy and safetensors alone'

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo \
	  'convscope needs Python 3.11 or newer: make PYTHON=python3.12, for one' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo 'setting up $(VENV) …' >&2
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo 'setting up the tests …' >&2
	@$(PIP) -e '.[all,test,dev]'
	@touch $@

study: $(VENV)/.core
	@$(BIN)/convscope study $(DATA) --preset $(PRESET) $(FITTED) $(ARGS)

demo: $(VENV)/.core
	@$(BIN)/convscope study shapes --seeds 1 --out runs/demo $(ARGS)

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2 $(ARGS)

slow: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2 -m slow $(ARGS)

cluster: $(VENV)/.dev
	@$(BIN)/python -m pytest -v -m cluster tests/test_ray.py $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -m "not cluster" tests/test_docs.py

bench/.venv/.frameworks: bench/requirements.txt constraints.txt
	@test -x bench/.venv/bin/python || $(PYTHON) -m venv bench/.venv
	@echo 'setting up the frameworks in bench/.venv …' >&2
	@bench/.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@bench/.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r bench/requirements.txt
	@touch $@

bench: $(VENV)/.dev bench/.venv/.frameworks
	@$(BIN)/python bench/run.py $(ARGS)

calibrate: $(VENV)/.core
	@$(BIN)/python bench/calibrate.py $(ARGS)
	@$(BIN)/python bench/calibrate_chapters.py $(ARGS)

torture: $(VENV)/.core
	@$(BIN)/python bench/torture.py $(ARGS)

gpu:
	@PYTHONPATH=. $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) bench/gpu.py $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info
