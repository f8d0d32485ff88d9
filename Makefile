# make run    sets up and runs the four notebooks (MODEL_SIZE=124M EPOCHS=3 BATCH_SIZE=8 LR=5e-5 change the run)
# make gpu    measures all that needs a GPU, in eight minutes (benchmarks/README.md says how without make)
# make links  writes the repository's address where it is quoted (REPOSITORY=https://github.com/you/golf-feedback-llm)
# make test   sets up and runs all tests (make chromium first, as root on Debian, if the browser test is not to be skipped)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: run test unit notebooks chromium bench gpu links lint clean
.DELETE_ON_ERROR:

run: $(VENV)/run.stamp
	$(BIN)/python -m golf_nb_utils run $(if $(MODEL_SIZE),--model-size $(MODEL_SIZE)) $(if $(EPOCHS),--epochs $(EPOCHS)) \
		$(if $(BATCH_SIZE),--batch-size $(BATCH_SIZE)) $(if $(LR),--lr $(LR)) $(if $(OUTPUT_ROOT),--output-root $(OUTPUT_ROOT))

# One worker a core, one thread a worker: more threads than cores slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder --durations=15

test: $(VENV)/test.stamp
	$(PYTEST)

unit: $(VENV)/test.stamp
	$(PYTEST) --ignore tests/test_notebooks.py --ignore tests/test_series.py

# What the test of the panel in JupyterLab needs; without a Chromium it is skipped.
chromium:
	command -v chromium chromium-browser google-chrome || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }

notebooks: $(VENV)/test.stamp
	$(BIN)/python tools/execute_notebooks.py
	$(BIN)/python tools/write_parameters.py

bench: $(VENV)/test.stamp
	$(PIP) install --no-deps llms-from-scratch
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/data_generation.py --largest 100000
	$(BIN)/python benchmarks/coach.py
	$(BIN)/python benchmarks/conversion.py
	$(BIN)/python benchmarks/sampling.py

# Needs the venv only to make sure of the packages: on a machine that has torch already call the script itself.
gpu: $(VENV)/test.stamp
	$(BIN)/python benchmarks/gpu.py --out experimental/gpu --minutes 8

links:
	$(PYTHON) tools/links.py $(REPOSITORY)

lint: $(VENV)/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python tools/lint_notebooks.py

# torch comes first and alone: constraints.txt holds its CPU-capable release, and nothing later may move it.
$(VENV)/run.stamp: requirements.txt constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -r requirements.txt
	$(PIP) install --no-deps -e .
	touch $@

$(VENV)/test.stamp: requirements-dev.txt $(VENV)/run.stamp
	$(PIP) install -c constraints.txt -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) experimental
