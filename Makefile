# make reproduce   the paper's comparison: JAFFE if it is in data/, else drawn stand-in faces
# make test        the tests
# make lint        ruff over everything
# make study       every arm under three protocols, and a report that sets them side by side
# make bench       make reproduce against a straight-line implementation of it (hours)
# make lock        requirements.lock anew, from what requirements.txt brings today
# make clean       remove experiments and the drawn faces; JAFFE, results/measured/ and .venv stay
# For all: PYTHON=python3.12. For study: DATA=PATH RUNS=N RESULTS=DIR PROTOCOLS="loso" and
# OPTIONS="--crop square" for whatever else train_cae.py takes; other faces or options want another
# RESULTS.

PYTHON ?= python3
RESULTS ?= results/study
PROTOCOLS ?= published holdout loso
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
SHELL := /bin/bash

.PHONY: reproduce test lint study bench lock clean

reproduce: .venv/installed
	$(PY) train_cae.py
	$(PY) augment.py
	$(PY) train_classifier.py
	$(PY) evaluate.py

test: .venv/installed-tests
	$(PY) -m pytest

lint: .venv/installed-tests
	$(PY) -m ruff check

study: .venv/installed
	@for protocol in $(PROTOCOLS); do \
	  folder="$(RESULTS)/$$protocol" && echo "== $$protocol" && \
	  $(PY) train_cae.py --results "$$folder" --protocol $$protocol $(if $(DATA),--data "$(DATA)") \
	    $(if $(RUNS),--runs $(RUNS)) $(OPTIONS) && \
	  $(PY) augment.py "$$folder"/*/ --methods all && \
	  $(PY) train_classifier.py "$$folder"/*/ || exit; \
	done
	@$(PY) evaluate.py $(foreach p,$(PROTOCOLS),"$(RESULTS)"/$(p)/*/)

bench: .venv/installed
	$(PY) tests/bench.py

lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet -r requirements.txt
	.venv-lock/bin/python -m pip freeze > requirements.lock
	rm -rf .venv-lock

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	@touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(PIP) -r tests/requirements.txt
	@touch $@

clean:
	rm -rf data/standin
	find results -mindepth 1 -maxdepth 1 -type d ! -name measured -exec rm -rf {} +
