# `make demo` and `make test` do everything, on a fresh Debian 12 or Ubuntu with Python 3.11 or newer, as root.
# All paths are relative: run make in this directory. What is made goes into .venv/ and build/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
PYTHON_IN_VENV := .venv/bin/python
CALICOPY := .venv/bin/calicopy
DEMO_LAB := containerlab/mesh/mesh.clab.yml
# Passed on to pytest: make test ARGS="tests/unit -k rib"
ARGS ?=
# Test files that run at once: most of them wait for routers most of the time. 0 runs all in one process (for `-s`).
# The slow folders come first in the order of names, so no long file is left for the end: hence no reordering.
JOBS ?= 4

.PHONY: help
help:
	@echo "make demo        a lab of three nodes on this machine: peers, routes, a ping between pods (make demo-down removes it)"
	@echo "make test        all tests: unit, property, golden, namespaces, IPIP, BIRD/FRR/GoBGP/OpenBGPD (ARGS=... goes to pytest)"
	@echo "make check       linters, types, architecture contracts, proto"
	@echo "make image       the node image calicopy-node:latest"
	@echo "make image-test  three containers of that image, with pods that ping each other"
	@echo "make interop     calicopy beside BIRD, FRR, GoBGP and OpenBGPD, as a table; writes build/interop.json and docs/interop.md"
	@echo "make chaos       a mesh under a random series of faults (SEED=1 EVENTS=50 NODES=6); writes build/chaos-SEED.json"
	@echo "make bench       measure speed and size, beside BIRD; writes build/bench.json, docs/performance.md and its plot"
	@echo "make venv        .venv with the calicopy command in it"
	@echo "make wheel       build/dist/*.whl"
	@echo "make proto       generate calicopy/v1 from proto/"
	@echo "make install-deps  the system packages that all of this needs, and this machine lacks"
	@echo "make clean       remove build/ and caches (make distclean: and .venv)"

# System packages: only what is missing is installed, and nothing is started. The list is in the script.
.PHONY: install-deps
install-deps:
	@tools/install-deps.sh venv demo test image

.PHONY: deps-venv deps-demo deps-test deps-image
deps-venv deps-demo deps-test deps-image: deps-%:
	@tools/install-deps.sh $*

# Two stamps: what calicopy needs to run, and with it what its tests and checks need.
.PHONY: venv dev
venv: .venv/.runtime
dev: .venv/.dev

.venv/.runtime: pyproject.toml | deps-venv
	@tools/venv.sh
	@touch $@

.venv/.dev: pyproject.toml | deps-venv
	@tools/venv.sh dev
	@touch .venv/.runtime $@

.PHONY: demo demo-down
demo: deps-demo venv
	@$(CALICOPY) lab up $(DEMO_LAB) || { echo "make demo-down removes the lab of an earlier demo" >&2; exit 1; }
	@$(PYTHON_IN_VENV) containerlab/demo.py

demo-down: venv
	@$(CALICOPY) lab down $(DEMO_LAB)

.PHONY: test
test: deps-test dev
	@echo "==> pytest"
	@$(PYTHON_IN_VENV) -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Every part runs and is reported, also when one before it failed.
.PHONY: check check-ruff check-types check-imports check-proto
check: dev
	@$(MAKE) --keep-going check-ruff check-types check-imports check-proto

check-ruff: dev
	@echo "==> ruff"
	@.venv/bin/ruff check --output-format concise

check-types: dev
	@echo "==> mypy --strict"
	@.venv/bin/mypy
	@.venv/bin/mypy --package tools

check-imports: dev
	@echo "==> import contracts"
	@.venv/bin/lint-imports --no-logo

check-proto: dev
	@echo "==> buf lint, and generated code is current"
	@.venv/bin/buf lint proto
	@tools/proto.sh --check

.PHONY: proto
proto: dev
	@tools/proto.sh

.PHONY: wheel
wheel: venv
	@echo "==> building the wheel"
	@rm -rf build/dist
	@.venv/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/dist .
	@ls build/dist/*.whl

.PHONY: image image-test
image: deps-image venv
	@$(PYTHON_IN_VENV) -m tools.image

image-test: deps-image venv
	@$(PYTHON_IN_VENV) -m tests.image.run

.PHONY: interop
interop: deps-test dev
	@$(PYTHON_IN_VENV) -m tests.interop

# The same seed, number of events and number of nodes are the same series always.
SEED ?= 1
EVENTS ?= 50
NODES ?= 6
.PHONY: chaos
chaos: deps-test dev
	@$(PYTHON_IN_VENV) -m tests.chaos --seed $(SEED) --events $(EVENTS) --nodes $(NODES)

.PHONY: bench
bench: deps-test dev
	@$(PYTHON_IN_VENV) -m bench

.PHONY: clean distclean
clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
