# `make help` lists the targets. PYTHON: the interpreter that the environment is made with, 3.11 to 3.13.
PYTHON ?= python3
ARGS ?= experiment=quickstart
PY := .venv/bin/python
READY := .venv/.ready
WORKERS ?= 2
# Of the versions that requirements.txt admits: highest, or lowest-direct, which CI tries too.
RESOLUTION ?= highest

.DEFAULT_GOAL := help
.PHONY: help setup train sweep study sweep-wandb report dashboard app test test-fast test-gpu lint format bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make the environment in .venv; again only when requirements.txt changes
$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "Making the environment in .venv (a few minutes where packages must be downloaded) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@$(PY) -m uv pip install --quiet --compile-bytecode --python $(PY) --resolution $(RESOLUTION) --requirement requirements.txt
	@touch $@

train: $(READY) ## train: make train ARGS="model=resnet34 optim=adam_onecycle"; alone, experiment=quickstart
	@$(PY) train.py $(ARGS)

sweep: $(READY) ## train every combination: make sweep ARGS="model=resnet8,resnet20 seed=1,2,3"
	@$(PY) train.py -m $(ARGS)

study: $(READY) ## a study with a verdict: make study ARGS="+study=learning_rate study.budget=minutes"
	@$(PY) train.py -m $(ARGS)

sweep-wandb: export ARGS := $(ARGS)
sweep-wandb: $(READY) ## write a search space as a W&B sweep: make sweep-wandb ARGS="model=resnet8,resnet20"
	@$(PY) -m cifar_lit.cli.wandb_sweep

report: $(READY) ## compare runs on one page: make report ARGS="runs/sweep/<time> -o report/"; alone, all of runs/
	@$(PY) -m cifar_lit.report $(if $(filter command line environment,$(origin ARGS)),$(ARGS))

dashboard: $(READY) ## W&B workspaces and report: make dashboard ARGS="--project NAME --group SWEEP"
	@$(PY) -m cifar_lit.dashboard $(if $(filter command line environment,$(origin ARGS)),$(ARGS))

app: $(READY) ## the web page over the networks in runs/: make app ARGS="runs/quickstart --port 8000"
	@$(PY) -m cifar_lit.app $(if $(filter command line environment,$(origin ARGS)),$(ARGS))

test: $(READY) ## all tests; those on real images need CIFAR100_ROOT
	@$(PY) -m compileall -q cifar_lit # once, where PYTHONDONTWRITEBYTECODE would have every process do it
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal

test-fast: $(READY) ## the tests without whole runs and hundreds of cases
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-gpu: $(READY) ## the tests that need a GPU
	@$(PY) -m pytest -m gpu

lint: $(READY) ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo "make format"; exit 1; }
	@$(PY) -m mypy

format: $(READY) ## let ruff lay out the code
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format --quiet .

bench: $(READY) ## the benchmarks, on whatever this machine has; half an hour on two cores
	@$(PY) -m benchmarks.pipeline
	@$(PY) -m benchmarks.pipeline --cores `$(PY) -c 'from cifar_lit.cores import cores; print(cores())'`
	@$(PY) -m benchmarks.lightning_tax
	@$(PY) -m benchmarks.startup
	@$(PY) -m benchmarks.throughput
	@$(PY) -m benchmarks.growth
	@$(PY) -m benchmarks.predict_speed
	@$(PY) -m benchmarks.report_speed

clean: ## remove the environment and caches; runs and data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
