# What a fresh machine needs: make, and Python 3.11 or later with its venv module.
# Another Python: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.stamp

# Left out of `make bench`: what takes hours, what needs a GPU, and modules the scripts share.
LONG_BENCHMARKS := benchmarks/gtsdb_laptop.py
BENCHMARKS := $(filter-out $(LONG_BENCHMARKS) benchmarks/%_gpu.py benchmarks/_%,$(sort $(wildcard benchmarks/*.py)))

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench bench-gtsdb

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## compress a small detector of drawn signs, from nothing
	$(VENV)/bin/secateur compress recipes/quickstart.yaml --run runs/quickstart

test: lint ## lint, then every test
	$(VENV)/bin/pytest

lint: $(STAMP) ## style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(STAMP) ## the benchmarks a CPU can run; each writes benchmarks/results/NAME.json
	@$(if $(BENCHMARKS),,echo 'there is no benchmark for a CPU in benchmarks/' >&2; exit 1;) \
	for script in $(BENCHMARKS); do \
	  echo "$$script"; $(VENV)/bin/python "$$script" || exit 1; \
	done

bench-gtsdb: $(STAMP) ## the German traffic signs on a laptop; 1 to 2 hours
	$(VENV)/bin/python $(LONG_BENCHMARKS)

# One environment for everything; made anew when what it is made from changes.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -c constraints.txt -e '.[dev]'
	@touch $@
