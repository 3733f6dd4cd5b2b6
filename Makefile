# didmesh: each goal installs what it needs first. PYTHON=… names another interpreter.
.PHONY: demo install test check bench clean

PY := .venv/bin/python

demo:  ## three parties behind NATs run an auction; needs root for network namespaces
	@scripts/setup run
	@$(PY) -m lab demo

install:  ## the commands agent and mediator for everybody on this machine, below /opt/didmesh
	@scripts/setup install

test:  ## every test; those that need root or a foreign peer say so when they skip
	@scripts/setup dev
	@scripts/interop
	@# Most of them wait for a network or a timer; a file stays together, with what it has set up.
	@# What takes too long beside others is judged by itself; both verdicts are printed.
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations 15 -m "not alone" || { \
		echo "what failed beside others, once more, alone:"; \
		$(PY) -m pytest --last-failed --last-failed-no-failures none -m "not alone"; }
	@$(PY) -m pytest -m alone $$(grep -rl --include "*.py" mark.alone tests)
	@$(PY) -m fuzz --seconds 60

check:  ## style, types, and the direction of imports
	@scripts/setup dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

bench:  ## ours, the peers and the floor side by side; prints tables
	@scripts/setup dev
	@scripts/interop
	@scripts/interop veramo_mediator
	@$(PY) -m bench

clean:  ## remove everything that these goals made, and what a killed lab left behind
	@if [ -x $(PY) ] && [ "$$(id -u)" = 0 ]; then $(PY) -m lab down; fi
	@rm -rf .venv .interop .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis \
		build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
