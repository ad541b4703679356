# make demo   the whole loop for real, in a minute or two
# make test   everything that needs no extra system package
# make lint   ruff, mypy --strict, import-linter
# Another Python (3.10 or newer): make test PYTHON=python3.12.  More arguments: make test ARGS="-k audit"

PYTHON ?= python3
ARGS ?=
VENV := .venv
STAMP := $(VENV)/.installed

.DELETE_ON_ERROR:
.PHONY: demo test lint install clean

demo: $(STAMP)
	@$(VENV)/bin/mlflow-drift demo $(ARGS)

test: $(STAMP)
	@echo "Left out here: tests marked 'system', which need a browser; .ci/run runs them."
	@$(VENV)/bin/python -m pytest -m "not system" -n 2 --dist loadfile $(ARGS)

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict
	$(VENV)/bin/lint-imports

install: $(STAMP)

$(STAMP): pyproject.toml setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "mlflow-drift needs Python 3.10 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." \
	         "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Making $(VENV) and installing exact versions: a few minutes, this once."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[torch,test,lint]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
