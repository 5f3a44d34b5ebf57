# make reproduce   the paper's comparison: JAFFE if it is in data/, else drawn stand-in faces
# make test        the tests
# make study       every arm under all three protocols (it says beforehand how long it takes)
# make bench       seconds against a straight-line implementation (half an hour to one and a half)
# make clean       remove experiments and the drawn faces; JAFFE and .venv stay
# Options of study: DATA=PATH RUNS=N RESULTS=DIR; of all: PYTHON=python3.12

PYTHON ?= python3
RUNS ?= 10
RESULTS ?= results/study
DATA ?=
PY := .venv/bin/python
CORES := $(shell getconf _NPROCESSORS_ONLN)
SHELL := /bin/bash -o pipefail

.PHONY: reproduce test study bench clean

reproduce: .venv/installed
	@test -z "$(DATA)" || { echo "make reproduce takes no DATA: put JAFFE into data/, or use make study" >&2; exit 2; }
	$(PY) train_cae.py
	$(PY) augment.py
	$(PY) train_classifier.py
	$(PY) evaluate.py

# Eleven minutes per run on one core without AVX-512, half of that with it, summed over the protocols; seen on the stand-in.
study: .venv/installed
	@echo "every arm, three protocols, $(RUNS) runs each: about $$(( $(RUNS) * 11 / $(CORES) )) minutes on the $(CORES) cores here,"
	@echo "and $$(( $(RUNS) * 8 / 10 + 1 )) GB in $(RESULTS)/; interrupt it when you like, the same command goes on from there"
	@mkdir -p "$(RESULTS)" && rm -f "$(RESULTS)/.study"
	@for protocol in published holdout loso; do \
	  echo "== $$protocol" && \
	  $(PY) train_cae.py $(if $(DATA),--data "$(DATA)") --results "$(RESULTS)" --protocol $$protocol --runs $(RUNS) --scope both | tee "$(RESULTS)/.last" && \
	  experiment="$$(sed -n 's/^experiment: //p' "$(RESULTS)/.last")" && \
	  $(PY) augment.py "$$experiment" --methods all && \
	  $(PY) train_classifier.py "$$experiment" && echo "$$experiment" >> "$(RESULTS)/.study" || exit; \
	done
	@experiments=(); while IFS= read -r folder; do experiments+=("$$folder"); done < "$(RESULTS)/.study"; $(PY) evaluate.py "$${experiments[@]}"

test: .venv/installed-tests
	$(PY) -m pytest tests

bench: .venv/installed
	$(PY) tests/bench.py

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

clean:
	rm -rf data/standin results/*/
