# `make demo` audits the three examples; `make test` runs the tests. Both set up what they need in .venv.
PYTHON ?= python3
# a worker a core, one thread each: threads of workers that share a core wait for one another
PYTEST ?= -n logical --dist loadfile
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
EFFORT ?= quick
DEMOS  := adult fashion movies

.PHONY: demo test lint format clean

demo: $(VENV)/installed
	@for name in $(DEMOS); do \
	  $(BIN)/audit run examples/$$name/plan.yaml --effort $(EFFORT) --out runs/$$name; code=$$?; \
	  case $$code in 0|1|3) ;; *) exit $$code;; esac; \
	  echo; \
	done
	@echo "Reports (open them in a browser):"
	@for name in $(DEMOS); do echo "  $(CURDIR)/runs/$$name/report.html"; done

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) with the developers' tools (a few minutes the first time) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) runs artefacts .pytest_cache .mypy_cache .ruff_cache
