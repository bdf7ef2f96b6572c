# make run | test | demo | setup and the single checks; CONTRIBUTING.md says what each is for.
MAKEFLAGS += --no-print-directory
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
LOCKS := requirements-build.lock requirements-dev.lock requirements-nodeps.lock
# Nothing is installed without a hash, and nothing is built from source but forbiddenfruit, which ships no wheel
# (blockbuster needs it); --no-build-isolation, because an isolated build would fetch its tools without hashes.
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --no-compile --require-hashes --only-binary :all:

# What requirements-nodeps.lock holds is the same files for every Python, though one wheel says it is for 3.12 alone; pip
# takes that for another Python only where it is told the folder.
WHERE := 'import sysconfig; print(sysconfig.get_path("purelib"))'

# $(call timed,what,command): run it and say how long it took; fails as the command fails.
timed = @start=$$SECONDS; $(2) || exit $$?; echo "-- $(1): $$((SECONDS - start)) s"

.PHONY: help warming-live setup run demo test lint types imports pytest soak fault-table format clean bench bench-peers bench-micro \
  bench-growth soak-long bench-joining bench-hedge bench-rollout bench-routing bench-semantic bench-cache \
  bench-large bench-budgets bench-reloads bench-warming bench-engine demo-rollout report-card

help:
	@echo "make run     install what is needed and start the gateway on 127.0.0.1:8080"
	@echo "make demo    send a debate transcript through the debate pipeline, twice"
	@echo "make test    install what is needed, then lint, types, imports, pytest"
	@echo "make setup   only install into .venv"
	@echo "make demo-rollout  an edit of a policy from lint to its automatic revert, on a running gateway"
	@echo "make soak    three minutes of random faults, leaving clients and Redis restarts [ARGS='--seconds 600 --seed 1']"
	@echo "make fault-table  what each provider fault gets, played on the real process [ARGS='--only cut']"
	@echo "make bench   CPU, latency and memory beside a bare aiohttp proxy; nothing else should run [ARGS=--quick]"
	@echo "make bench-peers  install LiteLLM's proxy into .venv-peers, for make bench"
	@echo "make bench-micro  microseconds and instructions of the pure steps"
	@echo "make bench-growth  cost per request as routes, keys, cache, ledger and concurrency grow [ARGS=--quick]"
	@echo "make soak-long  200,000 requests of mixed work: memory, files, tasks and series must stay flat"
	@echo "make bench-joining  a thousand identical streams: provider calls, and followers' first tokens"
	@echo "make bench-cache  the semantic tier's hits and wrong hits against fixed thresholds [ARGS=--quick]"
	@echo "make bench-semantic  CPU of embedding and searching a question, and how long the event loop stands"
	@echo "make bench-hedge  tail latency with and without hedging, and what it costs"
	@echo "make bench-engine  instructions and CPU that the attempts engine adds to a call that goes well"
	@echo "make bench-rollout  false rollbacks, and how many are harmed by a bad version [ARGS='--runs 100']"
	@echo "make bench-large  1 MiB prompts, 200,000-token streams, 2,000 idle connections, 1,000 slow streams"
	@echo "make bench-routing  cost saved at a quality, by predicted quality, against simpler rules [ARGS='--quick']"
	@echo "make bench-budgets  reserve-and-settle pairs a second on one policy's slot, pools off and on"
	@echo "make bench-reloads  a thousand policy reloads under 200 requests a second [ARGS='--reloads 100']"
	@echo "make warming-live  an hour of composed traffic on two replicas, the leading warmer killed; then its report"
	@echo "make report-card  latency, cost, hits and throughput of a bot's day, a row for each thing turned on [ARGS=--quick]"
	@echo "make bench-warming  hits, cost and precision of warming on two streams, against an oracle [ARGS=--quick]"
	@echo "make lint | types | imports | pytest [ARGS=...] | format | clean"

setup: .venv/.installed

.venv/.installed: $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; try make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "-- setup: installing into .venv, a minute or so the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(call timed,setup,$(PIP) -r requirements-build.lock \
	  && $(PIP) --use-pep517 --no-build-isolation --no-binary forbiddenfruit -r requirements-dev.lock \
	  && $(PIP) --no-deps --python-version 3.12 --upgrade --target $$($(BIN)/python -c $(WHERE)) -r requirements-nodeps.lock \
	  && $(BIN)/python -m pip --disable-pip-version-check install -qq --no-deps --no-build-isolation --editable .)
	@touch $@

run: setup
	@exec $(BIN)/foreword serve $(ARGS)

demo: setup
	@exec $(BIN)/foreword demo $(ARGS)

# One whole round at the real process: deploy/edit-to-revert.md shows what it prints.
demo-rollout: setup
	@exec $(BIN)/python -m tests.e2e.edit_to_revert $(ARGS)

test: lint types imports pytest

# The table of the design's performance page for this machine: five minutes; figures in tests/bench/README.md.
bench: setup
	@exec $(BIN)/python -m tests.bench.table $(ARGS)

# LiteLLM's proxy, to be measured and never shipped: its own environment, so that it cannot reach ours. 1.106.2 is
# also what requirements.in pins.
bench-peers:
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	$(call timed,bench-peers,.venv-peers/bin/python -m pip --disable-pip-version-check install -q "litellm[proxy]==1.106.2")

# One function per pure step; instruction counts where the machine or valgrind can count them.
bench-micro: setup
	@exec $(BIN)/python -m tests.bench.micro $(ARGS)

bench-growth: setup
	@exec $(BIN)/python -m tests.bench.growth $(ARGS)

soak-long: setup
	@exec $(BIN)/python -m tests.bench.soak_long $(ARGS)

# Two workers, a thousand callers of one prompt; the figures in tests/bench/README.md.
bench-joining: setup
	@exec $(BIN)/python -m tests.bench.joining

# Tail latency with and without hedging, in simulated time; the figures in tests/bench/README.md.
bench-hedge: setup
	@exec $(BIN)/python -m tests.bench.hedge

# The attempts engine on the plain path, with it and without: callgrind where there is valgrind, a few minutes.
bench-engine: setup
	@exec $(BIN)/python -m tests.bench.engine

# Hits, wrong hits and the running bound over streams beside the project; the figures in tests/bench/README.md.
bench-cache: setup
	@exec $(BIN)/python -m tests.bench.cache_bench $(ARGS)

# 1,000 and 100,000 entries in one scope, about two minutes; the figures in tests/bench/README.md.
bench-semantic: setup
	@OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.bench.semantic

# A thousand rollouts of a version that is no worse, and some of versions that are: false alarms, and who is harmed.
bench-rollout: setup
	@exec $(BIN)/python -m tests.bench.rollout $(ARGS)

# Two workers; memory, event-loop lag and /health beside the work; the figures in tests/bench/README.md.
bench-large: setup
	@exec $(BIN)/python -m tests.bench.large

# What routing by predicted quality saves, on RouteLLM's data beside the project (FOREWORD_DATA).
bench-routing: setup
	@exec $(BIN)/python -m tests.bench.routing $(ARGS)

# The ceiling of one policy's budgets, on one server and on a Cluster; the figures in tests/bench/README.md.
bench-budgets: setup
	@exec $(BIN)/python -m tests.bench.budgets

# Good and bad files under load: no request may fail or be of two versions; a minute or two.
bench-reloads: setup
	@exec $(BIN)/python -m tests.bench.reloads $(ARGS) | tail -n 1

# An hour of the bot week on two replicas, with a crash; seven minutes.
warming-live: setup
	@exec $(BIN)/python -m tests.bench.warming_live $(ARGS)

# Six hours of the composed bot week in a minute or so for each row, about fifteen in all; figures in
# tests/bench/README.md, which ARGS=--readme writes anew.
report-card: setup
	@exec $(BIN)/python -m tests.bench.report_card $(ARGS)

# The Bing trace and the composed bot week beside the project (FOREWORD_DATA), in simulated time; ten minutes or so.
bench-warming: setup
	@exec $(BIN)/python -m tests.bench.warming $(ARGS)

lint: setup
	$(call timed,lint,$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .)

types: setup
	$(call timed,types,$(BIN)/mypy)

imports: setup
	$(call timed,imports,$(BIN)/lint-imports --no-logo)

# One process a core, a file stays on one of them so that what it starts is started once.
pytest: setup
	$(call timed,pytest,$(BIN)/pytest --quiet --numprocesses 2 --dist loadfile $(ARGS))

soak: setup
	@$(BIN)/python -m tests.faults.soak $(ARGS)

fault-table: setup
	@$(BIN)/python -m tests.faults.table $(ARGS)

format: setup
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

clean:
	@rm -rf .venv .venv-peers bench-results .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
