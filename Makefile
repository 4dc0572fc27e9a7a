# Every target can be repeated, and run again after a kill at any point: dev/setup.sh finishes what is missing.
SHELL := /bin/bash
PYTHON := .venv/bin/python

.PHONY: setup demo demo-down test check crds bench clean
setup: ; @dev/setup.sh

check: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy operator models serving cli dev
	.venv/bin/lint-imports

crds: setup
	$(PYTHON) -m trainserve.api.crds charts/trainserve/files/crds
