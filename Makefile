# make repro: from a bare clone to reports/report.html.   make test: from a bare clone to the tests.
# make quick: the tests that a developer runs between two edits.
PYTHON ?= python3
VENV ?= .venv
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: repro test quick check

repro: $(VENV)/installed
	git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	@find .dvc/tmp -name rwlock -empty -delete 2>/dev/null || true  # so a killed DVC can leave it: no command starts then
	@python -m emotion_pipeline.run.dvclock  # so a killed DVC can leave dvc.lock cut off: no command starts then
	dvc repro
	dvc status --quiet  # DVC ends well even where its cache ran out of disk; this does not
	@echo "Done: open reports/report.html"

test: $(VENV)/installed
	pytest --numprocesses 2

quick: $(VENV)/installed
	pytest --numprocesses 2 -m "not slow"

check: $(VENV)/installed
	ruff format --check .
	ruff check .
	mypy

$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	python -m pip install --requirement requirements.txt
	python -m pip install --no-deps --no-build-isolation --editable .
	touch $@
