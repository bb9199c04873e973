# `make` lists the targets. Every target makes .venv by itself.

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

TRUNK ?=
DATA ?=
OUT ?= runs/finetune
OPTIONS ?=
SECONDS ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint finetune bench fuzz proto clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  \1\t/p' Makefile | expand -t 12

setup: .venv/installed ## install into .venv what is needed, as pinned in constraints.txt

demo: .venv/installed ## convert, fine-tune, export, predict on a small drawn sample
	@bash demo.sh

test: .venv/installed ## run all tests (OPTIONS="-k wire" for some)
	@$(BIN)/python -m pytest $(OPTIONS)

lint: .venv/installed ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/ruff format --check --isolated caffe2torch/modules
	@$(BIN)/mypy

finetune: .venv/installed ## train on DATA=folder with TRUNK=folder or file, then export to OUT=runs/finetune (OPTIONS="--epochs 5")
	@test -n "$(TRUNK)" -a -n "$(DATA)" || { echo "usage: make finetune TRUNK=illust2vec DATA=folder-of-classes [OUT=$(OUT)]" >&2; exit 2; }
	$(BIN)/finetune train "$(DATA)" --trunk "$(TRUNK)" -o "$(OUT)" $(OPTIONS)
	$(BIN)/onnx export "$(OUT)" --force

bench: .venv/installed ## measure what the README claims
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

fuzz: .venv/installed ## search for files that break a reader (SECONDS=600 each, into build/fuzz)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@for target in wire text caffemodel net solver; do $(BIN)/python fuzz/run.py $$target --seconds $(SECONDS) || exit 1; done

proto: .venv/installed ## compile proto/caffe.proto to caffe2torch/caffe.binpb
	$(BIN)/python -m grpc_tools.protoc -Iproto --descriptor_set_out=caffe2torch/caffe.binpb proto/caffe.proto

clean: ## remove .venv, caches and what the demo wrote
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or later is needed: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@echo 'installing into .venv: torch, onnxruntime and others, some minutes the first time' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	@touch $@
