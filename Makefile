# Everything here works on a fresh clone: whatever needs the environment makes .venv first.
# Another Python:  make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# One thread a process that sleeps while it waits: the tests run in two processes, and the number of threads is part of
# the numerics (one and two threads give different bits).
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## the whole story on real digits, in a minute
	@$(BIN)/tailwise demo

test: lint ## style, types, imports, then every test but the slow lane
	$(ONE_THREAD) $(BIN)/pytest -n 2 --dist loadgroup -m "not slow"

test-slow: $(INSTALLED) ## the slow lane alone
	$(ONE_THREAD) $(BIN)/pytest -m slow

lint: $(INSTALLED) ## style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean: ## remove caches and build products; .venv and tailwise-out stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage build dist src/*.egg-info
	@find . \( -name .git -o -name .venv -o -name tailwise-out \) -prune -o -type d -name __pycache__ -exec rm -rf {} +

# The stamp goes first and comes back last: an interrupted install is taken up again by the next make. What venv and pip
# say is kept, and shown only when they fail.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "tailwise needs Python 3.11 or newer, and there is no '$(PYTHON)' here; name one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tailwise needs Python 3.11 or newer; $(PYTHON) is %d.%d; name another: make PYTHON=python3.12" % sys.version_info[:2])'
	@rm -f $@ && mkdir -p .venv
	@echo "Installing tailwise and its development tools into .venv: about two minutes, once (6 GB on Linux)." >&2
	@{ "$(PYTHON)" -m venv .venv && $(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt; } >.venv/install.log 2>&1 </dev/null || { \
	  cat .venv/install.log >&2; echo "The installation into .venv failed: see above, and run the same again to take it up." >&2; exit 1; }
	@touch $@
