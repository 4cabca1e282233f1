# Two commands: `make demo` (fresh machine to a ranked table) and `make test` (fresh machine to green tests).
# Both make their own virtual environment in .venv and ask nothing.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(shell find data metrics models benchmarks leaderboard itprobe -type f -not -name '*.pyc')
DEMO_RESULTS ?= demo-results
DEMO_CANDIDATES := pixels object_onehot category_onehot latents \
	$(foreach weights,efficientnet_lite0 efficientnet_lite0@random,\
	$(foreach block,4 8 12,$(weights):_blocks.$(block)))

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	@echo "== itprobe demo: scoring pixels, controls, a trained and a random network on simulated responses"
	$(BIN)/itprobe score $(DEMO_CANDIDATES) --benchmark simulated_small.IT-ridge --results $(DEMO_RESULTS)

test: $(VENV)/.installed-test
	@echo "== itprobe: running all tests, the slow ones too"
	$(BIN)/pytest -m "slow or not slow"

lint: $(VENV)/.installed-lint
	@echo "== itprobe: style, types and the direction of imports"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml --cache-dir .mypy_cache -p itprobe
	cd $(VENV) && bin/lint-imports --config ../pyproject.toml --no-cache

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	@echo "== itprobe: making a virtual environment in $(VENV) with $(PYTHON)"
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; install Python 3.11 or give PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --no-input --quiet --upgrade pip

# build/ of an earlier version would leak into the wheel.
$(VENV)/.installed: $(BIN)/python $(SOURCES)
	@echo "== itprobe: installing (torch is large: this can take some minutes)"
	rm -rf build
	$(BIN)/python -m pip install --no-input --quiet .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "== itprobe: installing what the tests need"
	rm -rf build
	$(BIN)/python -m pip install --no-input --quiet '.[test]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	@echo "== itprobe: installing the checkers"
	rm -rf build
	$(BIN)/python -m pip install --no-input --quiet '.[lint]'
	@touch $@
