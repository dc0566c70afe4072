# Needs Python 3.11 or newer and make. Everything is installed into .venv, at the versions in requirements.lock.
.DEFAULT_GOAL := help
.PHONY: help demo test long check static form lint types layers ray trackers verify docs bench tables corpus pictures torture plotly lock clean
.DELETE_ON_ERROR:

PYTHON ?= python3
# A Python that has jax, for the tables beside it; where it has none, they are left out.
JAX ?= $(BIN)/python
# Twice as many as the cores of a small machine: many tests wait, for daemons, browsers and processes.
JOBS ?= 4

# Where nothing can be written into this folder, what is made lies beside it: the environment, and what tools remember.
ifeq ($(shell test -w . && echo yes),yes)
VENV := .venv
LINT_CACHE := .import_linter_cache
else
MADE := $(or $(TMPDIR),/tmp)/shoal-$(shell id -u)
VENV := $(MADE)/venv
LINT_CACHE := $(MADE)/import_linter
export RUFF_CACHE_DIR := $(MADE)/ruff
export MYPY_CACHE_DIR := $(MADE)/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(MADE)/hypothesis
export PYTHONPYCACHEPREFIX := $(MADE)/pycache
export PYTEST_ADDOPTS += -o cache_dir=$(MADE)/pytest
endif

BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock
SETTINGS := pyproject.toml requirements.lock

# A new torch may round differently: take one on purpose, with the bitwise and numerical tests at hand.
TORCH ?= 2.13.0

# The plotting library of report.html, from the npm registry: the small build that has what the page draws.
PLOTLY ?= 4.1.1

# The tests start hundreds of processes: what one of them has compiled serves the others.
unexport PYTHONDONTWRITEBYTECODE

# One thread a process: small models gain nothing from more, and the tests run side by side.
export OMP_NUM_THREADS ?= 1

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.installed ## train the parabola and say where its results are, and what is next
	$(BIN)/python train.py task=parabola
	@printf '%s\n' '' 'Next, once in each shell:' '  source $(VENV)/bin/activate' \
	  'and then, for example:' '  tensorboard --logdir outputs' '  python train.py task=sin_x2' '  shoal --help'

test: static $(VENV)/.compiled ## check the sources, then run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

long: static $(VENV)/.compiled ## run the tests that `make test` leaves out for their length
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m long

check: test ## what CI runs: format, lint, types, layers, tests

static: form lint types layers ## format, lint, types and layers, without the tests

form: $(VENV)/.tested
	$(BIN)/ruff format --check .

lint: $(VENV)/.tested
	$(BIN)/ruff check .

types: $(VENV)/.tested
	$(BIN)/mypy

layers: $(VENV)/.tested
	$(BIN)/lint-imports --cache-dir $(LINT_CACHE)

ray: $(VENV)/.tested ## install Ray, and test sweeps on a cluster of it that runs on this machine
	$(INSTALL) -e '.[test,ray]'
	$(BIN)/python -m pytest tests/sweeps/test_ray.py

trackers: $(VENV)/.tested ## install MLflow and Weights & Biases, and test what they keep of runs (without a server)
	$(INSTALL) -e '.[test,trackers]'
	$(BIN)/python -m pytest tests/record/test_published_trackers.py

verify: $(VENV)/.tested ## run every experiment, and compare what it measures with what it expects
	$(BIN)/shoal verify

docs: $(VENV)/.documented ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed ## time a whole run beside a plain PyTorch loop and the usual template
	$(BIN)/python benchmarks/single_run.py

tables: $(VENV)/.tested ## time all that docs/performance.md has tables of, into build/tables (40 minutes; JAX=PYTHON)
	mkdir -p build/tables
	sed 's|JAX|$(JAX)|' benchmarks/tables.txt | while read -r name options; do \
		echo "benchmarks/$$name.py $$options"; \
		$(BIN)/python benchmarks/$$name.py $$options < /dev/null > build/tables/$$name.md || exit 1; \
	done

corpus: $(VENV)/.tested ## train published code as it is (in a temporary folder), and write docs/corpus.md; again to go on
	$(BIN)/python corpus/run.py --write docs/corpus.md --rows build/corpus.json

pictures: $(VENV)/.tested ## make the README's pictures anew (needs Chromium)
	$(BIN)/python docs/pictures.py

torture: $(VENV)/.tested ## kill, fill, flip and fail for an hour, and write what came of it to docs/reliability.md
	$(BIN)/python benchmarks/torture.py

plotly: ## fetch the plotting library of the report anew (needs npm)
	rm -rf build/plotly && mkdir -p build/plotly
	cd build/plotly && npm pack --silent plotly.js-cartesian-dist-min@$(PLOTLY) && tar xzf *.tgz
	gzip -9nc build/plotly/package/plotly-cartesian.min.js > src/shoal/review/report/plotly/plotly-cartesian.min.js.gz
	cp build/plotly/package/LICENSE src/shoal/review/report/plotly/LICENSE

lock: ## write requirements.lock anew: the newest versions that pyproject.toml allows, torch excepted
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet '.[test,benchmark,ray,trackers]' torch==$(TORCH)
	.ci/lock build/lock/bin/python > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean: ## remove .venv and everything built; outputs/ stays
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: shoal needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(SETTINGS)
	$(INSTALL) -e .
	@touch $@

$(VENV)/.tested: $(VENV)/.created $(SETTINGS)
	$(INSTALL) --no-compile -e '.[test]'
	@touch $@ $(VENV)/.installed

# What the tests import is compiled as it is imported, here once for all their processes: a third of what pip would compile.
$(VENV)/.compiled: $(VENV)/.tested
	-@$(BIN)/python -m pytest --collect-only --quiet >/dev/null 2>&1
	@touch $@

$(VENV)/.documented: $(VENV)/.created $(SETTINGS)
	$(INSTALL) -e '.[docs]'
	@touch $@ $(VENV)/.installed
