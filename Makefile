# make reproduce      the paper's comparison: JAFFE if it is in data/, else drawn stand-in faces
# make test           the tests
# make lint           ruff over everything
# make study          the default methods under four protocols, and a report of them side by side
# make curve          accuracy against the number of subjects in training: PEOPLE="2 4 8"
# make figures        the figures of EXPERIMENT=FOLDER as PDF too, of METHODS and ARMS if given
# make bench          make reproduce against a straight-line implementation of it (hours)
# make lock           requirements.lock anew, from what requirements.txt brings today
# make clean-results  remove experiments, after it has listed them; with YES=1 without asking
# PYTHON=python3.12 where there is no .venv yet. For study and curve: DATA=PATH RUNS=N RESULTS=DIR
# PROTOCOLS="loso" (study) PROTOCOL=kfold (curve) METHODS=all ARMS=all and OPTIONS="--crop square" for
# whatever else train_cae.py takes; other faces or options want another RESULTS.

PYTHON ?= python3
PROTOCOLS ?= published cv holdout loso
PROTOCOL ?= kfold
PEOPLE ?= 2 4 8
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
NEW := $(if $(DATA),--data "$(DATA)") $(if $(RUNS),--runs $(RUNS)) $(OPTIONS)
# The stages after the first, of the one experiment in $$folder.
REST = set -- "$$folder"/*/ && { [ $$\# = 1 ] || { echo "$$folder: holds several experiments; \
  give RESULTS another folder" >&2; exit 2; }; } && \
  $(PY) augment.py "$$1" $(if $(METHODS),--methods $(METHODS)) && \
  $(PY) train_classifier.py "$$1" $(if $(ARMS),--arms $(ARMS))
SHELL := /bin/bash

.PHONY: reproduce test lint study curve figures bench lock clean-results

reproduce: .venv/installed
	$(if $(filter command,$(foreach v,DATA RUNS OPTIONS,$(origin $(v)))),$(error \
	  make reproduce takes no options; make study does))
	$(PY) train_cae.py
	$(PY) augment.py
	$(PY) train_classifier.py
	$(PY) evaluate.py

test: .venv/installed-tests
	$(PY) -m pytest

lint: .venv/installed-tests
	$(PY) -m ruff check

study: RESULTS ?= results/study
study: .venv/installed
	@for protocol in $(PROTOCOLS); do \
	  echo "== $$protocol" && \
	  $(PY) train_cae.py --results "$(RESULTS)/$$protocol" --protocol $$protocol $(NEW) || exit; \
	done
	@for protocol in $(PROTOCOLS); do \
	  folder="$(RESULTS)/$$protocol" && echo "== $$protocol" && $(REST) || exit; \
	done
	@$(PY) evaluate.py $(foreach p,$(PROTOCOLS),"$(RESULTS)"/$(p)/*/)

curve: RESULTS ?= results/curve
curve: .venv/installed
	@for people in $(PEOPLE); do \
	  echo "== $$people subjects in training" && $(PY) train_cae.py \
	    --results "$(RESULTS)/people-$$people" --protocol $(PROTOCOL) --people $$people \
	    $(NEW) || exit; \
	done
	@for people in $(PEOPLE); do \
	  folder="$(RESULTS)/people-$$people" && echo "== $$people subjects in training" && \
	  $(REST) || exit; \
	done
	@$(PY) evaluate.py "$(RESULTS)"/people-*/*/

figures: .venv/installed
	$(PY) train_cae.py $(EXPERIMENT) --pdf
	$(PY) augment.py $(EXPERIMENT) --pdf $(if $(METHODS),--methods $(METHODS))
	$(PY) train_classifier.py $(EXPERIMENT) --pdf $(if $(ARMS),--arms $(ARMS))
	$(PY) evaluate.py $(EXPERIMENT) --pdf

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

clean-results:
	@folders=$$(find results -mindepth 1 -maxdepth 1 -type d ! -name measured); \
	if [ -z "$$folders" ]; then echo "no experiments in results/"; exit; fi; \
	echo "$$folders"; [ -n "$(YES)" ] || read -p "Remove these folders? [y/N] " answer; \
	case "$(YES)$$answer" in 1|y|Y|yes) find results -mindepth 1 -maxdepth 1 -type d \
	  ! -name measured -exec rm -rf {} + ;; *) echo "nothing removed" ;; esac
