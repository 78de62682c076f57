# Touchstone: `make demo` and `make test` set up all they need. See README.md.
# A Python of 3.11 or newer; empty: scripts/setup looks for one.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
OPA_VERSION := v1.22.2
DISTRIBUTION_VERSION := v3.1.2
GUEST_VENV := .venv-guest
# Of each fuzz target.
FUZZ_SECONDS := 60

.PHONY: help setup system-packages opa registries protos demo test lint types imports check bench lock errors-doc fuzz clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.stamp: requirements.lock pyproject.toml scripts/setup
	@scripts/setup $(VENV) $(PYTHON)
	@touch $@

setup: $(VENV)/.stamp ## virtual environment with locked packages; puts touchstone at .venv/bin

system-packages: ## swtpm, tpm2-tools, OVMF, SoftHSM and PostgreSQL, where that is permitted
	@scripts/system-packages

opa: ## the OPA server, built with Go at a pinned version into .tools/bin
	@scripts/install-opa $(OPA_VERSION)

registries: ## two OCI registries, built with Go at pinned versions into .tools/bin
	@scripts/install-registries $(DISTRIBUTION_VERSION)

protos: setup ## the Python code of wire/proto, generated anew
	@scripts/protos $(BIN)/python

demo: setup system-packages ## the main job end to end on real input, explained
	@$(BIN)/python examples/demo

test: setup system-packages opa registries ## every test, with the real components
	@$(BIN)/python -m pytest

lint: setup ## ruff, and the formatter's check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .

types: setup ## mypy --strict
	@$(BIN)/mypy

imports: setup ## which room may import which
	@$(BIN)/lint-imports --no-cache

check: lint types imports test ## all of the above

bench: setup opa ## the figures of docs/benchmarks.md, as ratios measured side by side
	@$(BIN)/python benchmarks/run.py

errors-doc: setup ## rewrite docs/errors.md from the error classes
	@PYTHONPATH=. $(BIN)/python scripts/errors_doc.py

lock: setup ## resolve the dependencies anew, with hashes
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --extra dev -o requirements.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url -o requirements-guest.lock pyproject.toml
	@echo "atheris==3.0.0" | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url -o requirements-fuzz.lock -

fuzz: setup ## a coverage-guided campaign over every parser, with its figures; FUZZ_SECONDS of each target
	@$(VENV)/bin/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-fuzz.lock
	@PYTHONPATH=. $(BIN)/python -m tests.fuzz.campaign --seconds $(FUZZ_SECONDS)

clean: ## remove what the targets made
	@rm -rf $(VENV) $(GUEST_VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-data
