# Needs Python >= 3.11 and make; everything else goes into .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
EXTRAS := service,gateway,redis,openfeature,dev
# The first interpreter on the path that is new enough; set PYTHON to choose another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# The release that the plugin was tried with. An environment of its own, as a gateway has: nothing of the service.
LITELLM := litellm[proxy]==1.106.2
PYTEST_ARGS ?=

.PHONY: help install demo test check format bench notebooks clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-10s %s\n' "$$t" "$$d"; done

install: $(VENV)/.installed ## make .venv with everything in it

$(VENV)/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing into $(VENV): .[$(EXTRAS)] (a minute or two the first time)"
	@$(PIP) install --quiet -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.litellm: $(VENV)/.installed
	@echo "installing LiteLLM's proxy into $(VENV)/litellm, to try the plugin in (a minute the first time)"
	@$(BIN)/python -m venv $(VENV)/litellm
	@$(VENV)/litellm/bin/python -m pip --disable-pip-version-check --no-input install --quiet -e '.[litellm]' '$(LITELLM)' \
		&& touch $@ || echo "LiteLLM could not be installed: its tests will be skipped"

$(VENV)/.notebooks: $(VENV)/.installed
	@$(PIP) install --quiet -e '.[$(EXTRAS),notebook]'
	@touch $@

demo: $(VENV)/.installed ## the whole loop on an embedded broker with real traffic
	@$(BIN)/detector demo

test: $(VENV)/.litellm ## all tests; the last lines say which Kafka, Redis and LiteLLM they ran on
	@$(BIN)/python -m pytest $(PYTEST_ARGS) tests

check: $(VENV)/.installed ## format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(VENV)/.installed ## rewrite the sources as `make check` wants them
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.installed ## the core's figures, then throughput and latency beside a bare client
	@if ls benchmarks/test_*.py >/dev/null 2>&1; then \
		$(BIN)/python -m pytest --benchmark-enable --benchmark-only -s benchmarks; fi
	@if [ -n "$$DETECTOR_BOOTSTRAP" ] || $(BIN)/python -c 'import sys; \
			from detector.service.kafkajars import missing; sys.exit(missing())'; then \
		$(BIN)/detector bench throughput && $(BIN)/detector bench latency --rate 20000; \
	else echo "no Kafka to be had here (DETECTOR_BOOTSTRAP names one): bench throughput and latency left out"; fi

notebooks: $(VENV)/.notebooks ## run every notebook from top to bottom, and the tests that want frames and plots
	@$(BIN)/python -m pytest -q tests/unit/lab/test_api.py
	@if ls notebooks/*.py >/dev/null 2>&1; then \
		mkdir -p build/notebooks && \
		for file in notebooks/*.py; do \
			$(BIN)/jupytext --quiet --set-kernel python3 --to ipynb \
				--output build/notebooks/$$(basename $$file .py).ipynb $$file || exit 1; done && \
		$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 build/notebooks; \
	else echo "no notebooks yet"; fi

clean: ## remove everything that make made
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
