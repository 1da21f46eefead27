# The verbs of the house. `make help` lists them; `make lab` and `make test` are the two you need.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$python; break; }; done)
CONSTRAINTS ?= -c constraints.txt
TORCH ?= auto
BIN := .venv/bin
STAMP := .venv/.ready
SITE := build/site
SITE_STAMP := .venv/.site
CHROMIUM := chromium chromium-browser google-chrome
JOBS ?= 2
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] && echo --allow-root)

export JUPYTER_PLATFORM_DIRS := 1
# Where this is set, each of some hundred processes compiles torch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup lab lab-check test test-quick lint test-js test-python browser notebooks verify mutate bench picture site site-test constraints test-house notebooks-check dist release-check colab-check binder-check hub-check slides nbgrader mergekit clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv and install everything; TORCH=cpu or cuda chooses the build of torch

$(STAMP): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "This course needs Python 3.11, 3.12 or 3.13, and none was found. Install one, or say which: make PYTHON=/path/to/python3.12 lab" >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo "Making an environment in .venv ..."; $(PYTHON) -m venv .venv; }
	@$(BIN)/python tools/set_up.py --torch $(TORCH) $(CONSTRAINTS)
	@touch $@

lab: $(STAMP) ## set everything up and open your copies of the course (in desk/) in JupyterLab
	@$(BIN)/moe-teach desk
	@# The terminals of JupyterLab find moe-teach and python where the notebooks do.
	@# A file alone would make its folder the root, and lead no lesson to its exercises.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab $(AS_ROOT) --ServerApp.root_dir=desk desk/notebooks/00_start_here.ipynb

lab-check: $(STAMP) browser ## run chapter 00 in the same JupyterLab through a real browser
	$(BIN)/python -m moe_teach.lab_check

colab-check: $(STAMP) ## run lessons under Colab's versions; COLAB='--torch 2.13.0' takes another torch
	$(BIN)/python tools/colab_check.py $(COLAB)

binder-check: $(STAMP) ## run every lesson with JupyterLab inside the 2 GB of a Binder
	$(BIN)/python -m moe_teach.lab_check.memory

hub-check: $(STAMP) ## see whether the packages of Containerfile.hub go together
	@printf '%s\n' 'jupyterhub>=5,<6' nbgitpuller | $(BIN)/uv pip compile --quiet --python-version 3.11 \
		--python-platform x86_64-unknown-linux-gnu -c constraints.txt --extra lab --extra kernels \
		--output-file /dev/null pyproject.toml - && echo "The packages of Containerfile.hub go together."

slides: $(STAMP) ## make the talks of all chapters, in build/slides
	@for lesson in solutions/[0-9][0-9]_*.py; do name=$${lesson#solutions/}; $(BIN)/moe-teach slides $${name%%_*}; done

test: lint test-js test-python ## set everything up and run all that CI runs

lint: $(STAMP) ## check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

test-js: ## test the pure functions of the widgets in node
	@if command -v node >/dev/null; then node --test tests/js/*.test.js; \
	else echo "node was not found, so the JavaScript unit tests are skipped; the browser tests still run the same files."; fi

test-python: $(STAMP) browser ## run every Python, notebook and browser test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-quick: lint ## the inner loop: the first case of every test that is over soon
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -p tests.quick

test-house: $(STAMP) ## test the shape of the library: floors, sizes, docstrings
	$(BIN)/python -m pytest -q tests/test_house.py

browser: ## make sure there is a Chromium for the browser tests
	@for name in $(CHROMIUM); do command -v $$name >/dev/null && exit 0; done; \
	if [ -n "$$MOE_TEACH_CHROMIUM" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else echo "The browser tests need Chromium: install it with your package manager (for example 'sudo apt-get install chromium'), or set MOE_TEACH_CHROMIUM to its path." >&2; exit 1; fi

notebooks: $(STAMP) ## rebuild all notebooks from their sources and run the lessons
	$(BIN)/moe-teach author build
	$(BIN)/moe-teach author execute

notebooks-check: $(STAMP) ## say which notebooks are not what their sources build; writes nothing
	$(BIN)/moe-teach author build --check

verify: $(STAMP) ## try every exercise with right, wrong and untouched answers
	$(BIN)/moe-teach author verify

mutate: $(STAMP) ## change every solution by rule and look for faults that no check sees
	$(BIN)/moe-teach author mutate --jobs $(JOBS)

.venv-nbgrader/.ready: pyproject.toml constraints.txt tools/nbgrader/requirements.txt
	@[ -x .venv-nbgrader/bin/python ] || $(PYTHON) -m venv .venv-nbgrader
	@.venv-nbgrader/bin/python tools/set_up.py --torch $(TORCH) $(CONSTRAINTS)
	.venv-nbgrader/bin/pip install --quiet $(CONSTRAINTS) -r tools/nbgrader/requirements.txt
	@touch $@

nbgrader: .venv-nbgrader/.ready ## send every exercise through the real nbgrader, in an environment of its own
	.venv-nbgrader/bin/python tools/nbgrader/round_trip.py $(CHAPTERS)

.venv-mergekit/.ready: pyproject.toml constraints.txt tools/mergekit/requirements.txt
	@[ -x .venv-mergekit/bin/python ] || $(PYTHON) -m venv .venv-mergekit
	@.venv-mergekit/bin/python tools/set_up.py --torch $(TORCH) --torch-only $(CONSTRAINTS)
	.venv-mergekit/bin/pip install --quiet $(CONSTRAINTS) --editable . -r tools/mergekit/requirements.txt
	@touch $@

mergekit: .venv-mergekit/.ready ## merge dense models with mergekit and with the library, and compare, in an environment of its own
	.venv-mergekit/bin/python tools/mergekit/compare.py

bench: $(STAMP) ## time the layer against its rivals and the physical limit
	$(BIN)/moe-teach bench layer

picture: $(STAMP) ## redraw the picture of the README
	$(BIN)/python -m moe_teach.course.authoring.front_door notebooks/00_start_here.ipynb .github/front-door.png

site: $(SITE_STAMP) ## build the course as pages, in build/site/html
	$(BIN)/python -m moe_teach.course.authoring.site $(SITE)/source
	$(BIN)/sphinx-build -q -W --keep-going -b html -d $(SITE)/doctrees -c docs/site $(SITE)/source $(SITE)/html
	@echo "Open $(SITE)/html/index.html; nothing in it asks for a network."

$(SITE_STAMP): $(STAMP) docs/site/package-lock.json
	@command -v npm >/dev/null || { echo "The site's formulas are set by KaTeX, which needs Node.js with npm: install it with your package manager (for example 'sudo apt-get install nodejs npm')." >&2; exit 1; }
	@echo "Fetching what builds the site, once ..."
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet $(CONSTRAINTS) --editable '.[site]'
	@npm --prefix docs/site ci --silent --no-audit --no-fund
	@touch $@

site-test: site browser ## try the pages in a real browser, with the network off
	$(BIN)/python -m pytest -n $(JOBS) docs/site/tests

constraints: $(STAMP) ## make the pins satisfy pyproject.toml on every system; UPGRADE=--upgrade takes the newest
	cp constraints.txt constraints.tmp
	$(BIN)/uv pip compile --quiet --universal --no-annotate --custom-compile-command 'make constraints' \
		$(UPGRADE) --extra dev --extra site --output-file constraints.tmp pyproject.toml
	@# torch itself says which CUDA libraries belong to its CUDA build.
	grep -vE '^(nvidia|cuda)-' constraints.tmp > constraints.txt
	rm constraints.tmp

dist: $(STAMP) ## build the wheel and the source archive in dist/, and look into the wheel
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(BIN)/python -m pytest -q tests/test_package.py

release-check: ## say whether TAG (as v1.2.3) names the version that everything here names
	@$(PYTHON) tools/release_check.py "$(TAG)"

clean: ## remove what was built (your desk and your progress stay)
	rm -rf .venv .venv-nbgrader .venv-mergekit build dist *.egg-info .pytest_cache .ruff_cache
