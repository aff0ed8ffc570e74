# All set-up is done by the targets themselves, into .venv, from lock files with hashes.
PYTHON ?= python3
BIN := .venv/bin
CODE := billing_console screens db tests bench docs
COMPILE = $(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links pyproject.toml
CATALOGUE := billing_console/locale

.DEFAULT_GOAL := help
.PHONY: help demo test check torture bench lock locale pictures clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/run.stamp ## open the console on an embedded demo ledger
	$(BIN)/billing-console demo

test: .venv/dev.stamp ## run the tests, on SQLite and on a PostgreSQL that they start, or that TEST_POSTGRES_URL names
	$(BIN)/pytest -n auto $(PYTEST_ARGS)

check: .venv/dev.stamp ## lint, format, types and import directions
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports

torture: .venv/dev.stamp ## the long form of the crash and concurrency tests
	TORTURE=long $(BIN)/pytest tests/torture -s

SIZES ?= 100000,1000000
bench: .venv/dev.stamp ## measure at SIZES=100000,1000000 calls, or 10000000, and write the tables of docs/performance.md
	$(BIN)/python -m bench --sizes $(SIZES) $(BENCH_ARGS)

lock: .venv/dev.stamp ## choose the newest allowed versions and write the lock files
	$(COMPILE) --extra build -o requirements.lock
	$(COMPILE) --extra dev -o requirements-dev.lock

# Babel warns that Chinese has fewer plural forms than English: so it is.
locale: .venv/dev.stamp ## collect the messages, merge them into the zh_CN catalogue and compile it
	@mkdir -p $(CATALOGUE)
	$(BIN)/pybabel -q extract -F babel.cfg -k _ -k N_ -k ngettext:1,2 -k pgettext:1c,2 --no-location --sort-output \
	  --project billing-console --copyright-holder 'billing-console contributors' -o $(CATALOGUE)/messages.pot .
	$(BIN)/pybabel -q update -D billing_console -i $(CATALOGUE)/messages.pot -d $(CATALOGUE) -l zh_CN --init-missing \
	  --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date
	$(BIN)/pybabel -q compile -D billing_console -d $(CATALOGUE)

pictures: .venv/dev.stamp ## draw the pictures of the README from the demo ledger
	$(BIN)/billing-console demo --no-tui
	$(BIN)/python docs/pictures.py

clean: ## remove what the other targets made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist snapshot_report.html

.venv/created.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "billing-console needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# The dev lock holds everything the runtime lock does, so an environment made for development stays one.
.venv/run.stamp: .venv/created.stamp requirements.lock requirements-dev.lock pyproject.toml
	@if test -e .venv/dev.stamp; then $(MAKE) --silent .venv/dev.stamp; \
	  else $(MAKE) --no-print-directory install LOCK=requirements.lock; fi
	@touch $@

.venv/dev.stamp: .venv/created.stamp requirements-dev.lock pyproject.toml
	@$(MAKE) --no-print-directory install LOCK=requirements-dev.lock
	@touch $@

.PHONY: install
install:
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
