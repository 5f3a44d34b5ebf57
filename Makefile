# make reproduce   the paper's comparison: JAFFE if it is in data/, else drawn stand-in faces
# make test        the tests
# make study       every arm under all three protocols (hours; it says how many beforehand)
# make clean       remove experiments and the drawn faces; JAFFE and .venv stay
# Options: DATA=PATH RUNS=N RESULTS=DIR PYTHON=python3.12

PYTHON ?= python3
RUNS ?= 10
RESULTS ?= results
DATA ?=
SOURCE := $(if $(DATA),--data "$(DATA)")
PY := .venv/bin/python

.PHONY: reproduce test study clean

reproduce: .venv/installed
	@$(PY) train_cae.py $(SOURCE) --results "$(RESULTS)" | tee .venv/last
	@$(PY) augment.py "$$(sed -n 's/^experiment: //p' .venv/last)"
	@$(PY) train_classifier.py "$$(sed -n 's/^experiment: //p' .venv/last)"
	@$(PY) evaluate.py "$$(sed -n 's/^experiment: //p' .venv/last)"

test: .venv/installed-tests
	$(PY) -m pytest tests

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

clean:
	rm -rf data/standin results/*/
