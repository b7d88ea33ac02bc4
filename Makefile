# A fresh machine needs make, and Python 3.11 or later with its venv module.
# Another Python: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.stamp

.DEFAULT_GOAL := help
.PHONY: help demo test lint browser audit torture docs bench bench-gtsdb bench-gtsrb bench-compare

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## compress a small detector of drawn signs, from nothing
	$(VENV)/bin/secateur compress quickstart --run runs/quickstart

test: lint browser ## lint, then every test
	OMP_NUM_THREADS=1 $(VENV)/bin/pytest -n auto --dist worksteal

lint: $(STAMP) ## style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(STAMP) ## the documentation as a site, into site/; fails on warnings and broken links
	$(VENV)/bin/python docs/make_site.py
	$(VENV)/bin/zensical build --strict --clean

# Tests of the report need Chromium and skip without it. It is installed if that needs no question: by
# root, from Debian's or Ubuntu's packages.
APT := DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=1 -o Acquire::http::Timeout=20

browser: ## Chromium for the tests of the report
	@if command -v chromedriver >/dev/null; then true; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& { $(APT) install --no-install-recommends chromium chromium-driver \
	|| { $(APT) update && $(APT) install --no-install-recommends chromium chromium-driver; }; }; then true; \
	else echo "no Chromium with its driver: tests of the report skip (apt install chromium chromium-driver)"; fi

audit: $(STAMP) ## licences of all packages, to docs/licences.md, and known vulnerabilities
	$(PYTHON) -m venv .audit
	.audit/bin/pip install -q pip-audit pip-licenses
	{ printf '# Licences\n\nThe licence of every package of the development environment, as the package states it;\n[dependencies.md](dependencies.md) explains the exceptions. `make audit` writes this page.\n\n'; \
	  .audit/bin/pip-licenses --python $(VENV)/bin/python --from=mixed --order=license --format=markdown | tr -s ' -'; } > .audit/licences.md
	mv .audit/licences.md docs/licences.md
	$(VENV)/bin/pip freeze --exclude-editable > .audit/frozen.txt
	.audit/bin/pip-audit --no-deps --disable-pip -r .audit/frozen.txt

torture: $(STAMP) ## kill runs at a hundred random moments, and try other faults; as root, a full disk too
	$(VENV)/bin/python benchmarks/torture.py

bench: $(STAMP) ## the benchmarks a CPU can run, into benchmarks/results and docs/results.md; half an hour
	$(VENV)/bin/python benchmarks/shipped_recipe.py quickstart
	$(VENV)/bin/secateur benchmark runs/quickstart/dense.safetensors runs/quickstart/slim.safetensors \
	  --runtime onnxruntime --data data/signs/signs1-14to60-128px-seed0-test1000/test --out runs/quickstart/latency.json
	cp runs/quickstart/latency.json benchmarks/results/latency_quickstart.json
	$(VENV)/bin/python benchmarks/report.py quickstart
	$(VENV)/bin/python benchmarks/postprocessing.py
	$(VENV)/bin/python benchmarks/data_speed.py --rounds 2
	$(VENV)/bin/python benchmarks/threshold_search.py
	$(VENV)/bin/python benchmarks/evaluation_speed.py --rounds 1
	$(VENV)/bin/python benchmarks/removal_speed.py --rounds 3
	$(VENV)/bin/python benchmarks/training_speed.py
	$(VENV)/bin/python benchmarks/growth.py
	$(VENV)/bin/python benchmarks/latency_cpu.py --seconds 5
	$(VENV)/bin/python docs/make_latency_chart.py
	$(VENV)/bin/python docs/make_results_page.py

bench-gtsdb: $(STAMP) ## detection of German traffic signs, from data/gtsdb and data/gtsrb; about an hour
	$(VENV)/bin/secateur train gtsdb_backbone
	$(VENV)/bin/python benchmarks/shipped_recipe.py gtsdb_laptop
	$(VENV)/bin/python benchmarks/report.py gtsdb_laptop
	$(VENV)/bin/python benchmarks/export_gtsdb.py
	$(VENV)/bin/python docs/make_results_page.py

bench-compare: $(STAMP) ## our method against baselines and against itself with parts left out; many hours
	$(VENV)/bin/python benchmarks/compare.py quickstart
	$(VENV)/bin/python benchmarks/compare.py gtsrb
	$(VENV)/bin/python benchmarks/compare.py gtsrb --ablation
	$(VENV)/bin/python docs/make_results_page.py

bench-gtsrb: $(STAMP) ## classification of German traffic signs, from data/gtsrb; about an hour
	$(VENV)/bin/python benchmarks/shipped_recipe.py vgg_gtsrb_laptop
	$(VENV)/bin/python docs/make_results_page.py

# One environment for everything; installed again after a change to what it depends on.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one: make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -c constraints.txt -e '.[dev]'
	@touch $@
