# Two commands matter: `make demo` and `make test`. Both work on a fresh machine with Python ≥ 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# Recorded data of other people: used where they lie beside the checkout, else found in the cache or downloaded.
ifeq ($(CLOUDBANDIT_DATA),)
  ifneq ($(wildcard ../shared/data),)
    export CLOUDBANDIT_DATA := $(abspath ../shared/data)
  endif
endif

.PHONY: demo test check unit slow soak bench docs clean help
help:
	@echo "make demo    install, replay the bundled table for one model under SLOs, write demo.png"
	@echo "make test    install everything, lint, type-check, run all tests"
	@echo "make check   lint, types, layers"
	@echo "make unit    the fast tests alone"
	@echo "make soak    many more fault schedules on fake clouds; SCHEDULES=1000 of each provider, and 100 times as many in memory"
	@echo "make bench   speed, beside other libraries"
	@echo "make docs    the documentation, into site/"

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cloudbandit needs Python 3.11 or later, and $(PYTHON) is `$(PYTHON) --version`; cure: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module; on Debian: apt-get install python3-venv"; exit 1; }
	@$(PIP) pip
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing cloudbandit into $(VENV) …"
	@$(PIP) --editable '.[plot,recommend]'
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing cloudbandit, every extra and the test tools into $(VENV) …"
	@$(PIP) --editable '.[all]' --group test --group check --group docs
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	@$(BIN)/cloudbandit replay llm-serving --workload "llama-3.1-70b|chat|2000tok|spot" --minimize usd_per_h \
	  --slo "ttft_ms<=1000" --slo "tpot_ms<=50" --budget 22 --seed 0 --plot demo.png

test: check unit slow
	@echo "all tests passed"

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/pytest tests/test_layers.py

unit: $(VENV)/.test
	$(BIN)/pytest -m "not slow" -n 2 --durations=5

slow: $(VENV)/.test
	$(BIN)/pytest -m slow -n 2 --timeout=300 --durations=10

soak: $(VENV)/.test
	CLOUDBANDIT_SOAK=$(or $(SCHEDULES),1000) $(BIN)/pytest -m slow --timeout=0 --durations=10 \
	  tests/test_money_safety.py tests/test_clouds.py tests/test_whole_study.py

bench: $(VENV)/.test
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/regret.py --quick

docs: $(VENV)/.test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html; no server is needed"

clean:
	rm -rf $(VENV) build dist site demo.png .pytest_cache .mypy_cache .ruff_cache .hypothesis
