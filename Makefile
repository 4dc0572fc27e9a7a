# Every target can be repeated, and run again after a kill at any point: dev/setup.sh finishes what is missing.
SHELL := /bin/bash
PYTHON := .venv/bin/python
PORTIONS := operator models serving cli dev
COMMA := ,
SPACE := $(subst ,, )

.PHONY: setup setup-python demo demo-down check test crds docs dashboards dashboards-preview bench

demo: setup ## the main job, end to end, on a real control plane
	@$(PYTHON) -m trainserve.dev.demo

demo-down: setup-python ## stop everything that the demo started
	@$(PYTHON) -m trainserve.dev down

# Two workers, a file to one of them: the tests wait as much as they compute, and a file's tests share its servers.
# Coverage by slipcover: coverage.py traces every call, torch's own included, and took 4 of 10 CPU seconds of an export.
# Its threshold, so that it never takes its probes out again: where it does, it walks through every module's functions
# in the thread that runs, and one that another thread imports meanwhile made a test fail (RuntimeError: dictionary
# changed size during iteration). That costs no CPU time that could be measured here.
test: setup ## all tests, those on the real API server included
	$(PYTHON) -m slipcover --source $(subst $(SPACE),$(COMMA),$(PORTIONS)) --missing-width 60 --threshold 1000000000 \
		-m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 $(PYTEST_ARGS)

check: setup-python ## lint, types, who may import whom
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/clang-format --dry-run --Werror serving/trainserve/serving/devserver/backend/*/*.*
	.venv/bin/mypy $(PORTIONS)
	.venv/bin/lint-imports
	@$(PYTHON) -m trainserve.dev.dashboards --check
	@$(PYTHON) -m trainserve.dev.metrics_page --check

bench: setup ## prints tables and writes bench/results/*.json
	@missed=0; for program in path serving tune training training_gpu; do $(PYTHON) -m bench.$$program || missed=1; done; exit $$missed

crds: setup-python ## regenerate the chart's CRDs from the API types
	$(PYTHON) -m trainserve.api.crds charts/trainserve/files/crds

docs: setup-python ## regenerate docs/metrics.md from the metrics' definitions
	$(PYTHON) -m trainserve.dev.metrics_page

dashboards: setup-python ## regenerate the chart's Grafana dashboards from dev/trainserve/dev/dashboards
	$(PYTHON) -m trainserve.dev.dashboards

# For developers: needs Node with npm, and Chromium. Not Grafana, and no part of any other target.
dashboards-preview: setup ## pictures of the dashboards, from a cluster that trains and serves for 10 minutes
	@$(PYTHON) -m trainserve.dev.preview

setup:
	@dev/setup.sh

setup-python:
	@dev/setup.sh python
