# Every target can be repeated, and run again after a kill at any point: dev/setup.sh finishes what is missing.
SHELL := /bin/bash
PYTHON := .venv/bin/python
PORTIONS := operator models serving cli dev
COMMA := ,
SPACE := $(subst ,, )

.PHONY: help setup setup-python demo demo-down unit test check version crds docs changelog dashboards dashboards-preview bench

help: ## list every target with its sentence
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 20

demo: setup ## train, publish, serve and ask a model on a real control plane on this machine
	@$(PYTHON) -m trainserve.dev.demo

demo-down: setup-python ## stop everything that the demo started
	@$(PYTHON) -m trainserve.dev down

# Which tests these are, tests/conftest.py decides: by the fixtures that a test asks for and by the time that it took.
# Python keeps its bytecode here, even where the environment says otherwise (PYTHONDONTWRITEBYTECODE, as in many
# containers): without it each worker compiles 300 modules anew and adds pytest's account of each assertion to them.
unit: export PYTHONDONTWRITEBYTECODE :=
unit: setup-python ## run the quick tests, which need no server, in about 70 CPU seconds
	$(PYTHON) -m pytest -m unit --numprocesses 2 --dist loadfile --max-worker-restart 0 $(PYTEST_ARGS)

# Two workers, a file to one of them: the tests wait as much as they compute, and a file's tests share its servers.
# Coverage by slipcover: coverage.py traces every call, torch's own included, and took 4 of 10 CPU seconds of an export.
# Its threshold, so that it never takes its probes out again: where it does, it walks through every module's functions
# in the thread that runs, and one that another thread imports meanwhile made a test fail (RuntimeError: dictionary
# changed size during iteration). That costs no CPU time that could be measured here.
test: setup ## run all tests, those on the real API server included; one file: make test T=tests/operator/test_outcome.py
ifdef T
	$(PYTHON) -m pytest $(T) $(PYTEST_ARGS)
else
	$(PYTHON) -m slipcover --source $(subst $(SPACE),$(COMMA),$(PORTIONS)) --missing-width 60 --threshold 1000000000 \
		-m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 $(PYTEST_ARGS)
endif

check: setup-python ## check format, lint, spelling, types, who may import whom, generated files
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/codespell
	.venv/bin/clang-format --dry-run --Werror serving/trainserve/serving/devserver/backend/*/*.*
	.venv/bin/mypy $(PORTIONS) bench tests
	.venv/bin/lint-imports
	@$(PYTHON) -m trainserve.dev.dashboards --check
	@$(PYTHON) -m trainserve.dev.metrics_page --check
	@$(PYTHON) -m trainserve.dev.reference --check
	@$(PYTHON) -m bench.page --check

bench: setup ## measure, print tables and write bench/results/*.json
	@missed=0; for program in path serving tune training training_gpu; do $(PYTHON) -m bench.$$program || missed=1; done; exit $$missed

crds: setup-python ## regenerate the chart's CRDs from the API types
	$(PYTHON) -m trainserve.operator.crds charts/trainserve/files/crds

# Helm wants the version in the chart's own file.
version: setup-python ## carry the version of pyproject.toml into the chart
	@version=$$($(PYTHON) -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])') && \
		sed -i -E "s/^(version|appVersion): .*/\1: $$version/" charts/trainserve/Chart.yaml

changelog: setup-python ## show what the fragments in changelog.d/ will say in CHANGELOG.md
	@$(PYTHON) -m towncrier build --draft

docs: setup-python ## regenerate the pages of docs/ that are made from code (reference, contracts, metrics) and bench/results
	$(PYTHON) -m trainserve.dev.reference
	$(PYTHON) -m trainserve.dev.metrics_page
	$(PYTHON) -m bench.page

dashboards: setup-python ## regenerate the chart's Grafana dashboards from dev/trainserve/dev/dashboards
	$(PYTHON) -m trainserve.dev.dashboards

# For developers: needs Node with npm, and Chromium. Not Grafana, and no part of any other target.
dashboards-preview: setup ## draw pictures of the dashboards, from a cluster that trains and serves for 10 minutes
	@$(PYTHON) -m trainserve.dev.preview

setup: ## install what a fresh checkout lacks: the virtual environment, then the development cluster's programs
	@dev/setup.sh

setup-python: ## install the virtual environment only
	@dev/setup.sh python
