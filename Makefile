# Everything by one command, on a machine with Python 3.11, 3.12 or 3.13 and make. `make help` lists the commands.
PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
CONFIG ?= config/pilot.yaml
# cpu: the build without CUDA, where pip is told to look (TORCH_INDEX names one more place: the address of
# PyTorch's index of CPU builds); where there is none, the index's own.
# index: the build that the package index itself serves, with its dependencies (on Linux, CUDA).
TORCH ?= cpu
TORCH_INDEX ?=

ENVIRONMENT := .venv
INSTALLED := $(ENVIRONMENT)/.installed-$(TORCH)
CLUSTER := $(ENVIRONMENT)/.installed-cluster
DOCS := $(ENVIRONMENT)/.installed-docs
# Left out of the locks: torch, whose build differs (requirements-torch.lock), and dm_control's labmaze, which
# nothing here imports and which has no wheel for Python 3.13. So pip is told to install no dependencies.
UNLOCKED := torch labmaze
TORCH_VERSION := $(shell sed -n 's/^torch==//p' requirements-torch.lock)
PIP := $(ENVIRONMENT)/bin/python -m pip --disable-pip-version-check
export PATH := $(CURDIR)/$(ENVIRONMENT)/bin:$(PATH)
# Recipes take the file's name from their environment, whole, whatever characters are in it; where its results
# lie, the configuration says.
export CONFIG

.PHONY: help setup reproduce reproduction-check report verify test checks lint unit unit-narrow smoke docs benchmarks \
	faults cluster-setup cluster-test audit format settings lock clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*##/\1 \t/p' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## create .venv and install the locked versions (the others do this by themselves)

$(INSTALLED): requirements.lock requirements-torch.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is none: try make PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv $(ENVIRONMENT)
	@echo "Installing the locked versions (a minute or two, this once) ..."
	$(PIP) install --quiet --no-deps --require-hashes --requirement requirements.lock
ifeq ($(TORCH),cpu)
	@$(PIP) install --quiet --no-deps $(addprefix --extra-index-url=,$(TORCH_INDEX)) \
		'torch==$(TORCH_VERSION)+cpu' 2>/dev/null || \
		{ echo "No CPU build of torch $(TORCH_VERSION) is within reach: installing the index's own."; \
		  $(PIP) install --quiet --requirement requirements-torch.lock; }
else
	$(PIP) install --quiet --requirement requirements-torch.lock
endif
	@rm -f $(ENVIRONMENT)/.installed-*
	@touch $@

reproduce: $(INSTALLED)  ## from nothing to the figures and the table of CONFIG (default: config/pilot.yaml)
	@python -m workflow.configuration "$$CONFIG" > /dev/null
	snakemake --cores $(CORES) --configfile "$$CONFIG"

reproduction-check: $(INSTALLED)  ## run config/check.yaml anew and compare with its committed curves
	rm -rf results/check
	snakemake results/check/curves/inverted-double-pendulum-random/off2on/seeds_0-1-2.parquet --cores $(CORES) \
		--configfile config/check.yaml
	python -m workflow.reproduction_check results/check/curves results/reference/check/curves

report: $(INSTALLED)  ## one self-contained HTML page of CONFIG's finished results
	python -m workflow.report_page "$$CONFIG"

verify: $(INSTALLED)  ## whether the figures and tables of CONFIG's finished run are as it left them
	results="$$(python -m workflow.configuration "$$CONFIG")" && python -m storage.checksums "$$results"

test: checks smoke unit  ## what CI runs beside the audit: linters, documentation, smoke reproduction, tests

checks: $(DOCS)  ## linters and documentation side by side: each takes one core
	$(MAKE) --jobs 2 lint docs

lint: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint

# One thread each: workers are as many as cores.
unit: export OMP_NUM_THREADS = 1
unit: $(INSTALLED)
	python -m pytest --numprocesses $(CORES) --dist worksteal

unit-narrow: export ATEN_CPU_CAPABILITY = avx2
unit-narrow: export ONEDNN_MAX_CPU_ISA = AVX2
unit-narrow: export MKL_ENABLE_INSTRUCTIONS = AVX2
unit-narrow: export NPY_DISABLE_CPU_FEATURES = X86_V4 AVX512_ICL AVX512_SPR
unit-narrow: unit  ## the tests as on a processor without AVX-512, which rounds differently

smoke: $(INSTALLED)
	snakemake all sweep_policy_lr --cores $(CORES) --configfile config/smoke.yaml
	python -m workflow.report_page config/smoke.yaml
	snakemake --cores $(CORES) --configfile config/smoke_images.yaml
	python -m workflow.report_page config/smoke_images.yaml

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(DOCS)  ## the documentation as a site, its notebook executed: site/index.html
	mkdocs build --strict --quiet

$(DOCS): requirements-docs.lock $(INSTALLED)
	$(PIP) install --quiet --require-hashes --requirement requirements-docs.lock
	@touch $@

benchmarks: export OMP_NUM_THREADS = 1
benchmarks: export PYTHONPATH = .
benchmarks: $(INSTALLED)  ## measure speed and size anew, on a machine with nothing else to do (a quarter of an hour of an EPYC with AVX-512)
	python -m benchmarks.updates --methods cql sac off2on --rounds 7 --output benchmarks/results/updates.json
	python -m benchmarks.updates --methods awac bcq --rounds 7 --output benchmarks/results/updates_awac_bcq.json
	python -m benchmarks.updates --methods rlpd wsrl "wsrl, offline" cal_ql pex rebrac edac iql --updates 2 --rounds 5 \
		--output benchmarks/results/updates_today.json
	python -m benchmarks.updates --methods dmpo lbrac_v --updates 3 --rounds 7 \
		--output benchmarks/results/updates_heterogeneous.json
	python -m benchmarks.environments --rounds 9 --output benchmarks/results/environments.json
	python -m benchmarks.environments --threads 1 --rounds 5 \
		--output benchmarks/results/environments_one_thread.json
	python -m benchmarks.sum_tree --repetitions 500 --output benchmarks/results/sum_tree.json
	python -m benchmarks.memory --output benchmarks/results/memory.json
	python -m benchmarks.manipulation --steps 300 --output benchmarks/results/manipulation.json
	python -m benchmarks.cost --output workflow/cost/measured.json
	python -m benchmarks.scaling --output benchmarks/results/scaling.json
	snakemake --cores $(CORES) --forceall --configfile config/smoke.yaml
	python -m benchmarks.cost_check config/smoke.yaml results/smoke --output benchmarks/results/cost_smoke.json
	python -m benchmarks.report

faults: $(INSTALLED)  ## kill a small reproduction 54 times at random moments (an hour of an EPYC with AVX-512): results/faults
	python -m tests.faults --kills 54 --output results/faults

cluster-setup: $(CLUSTER)  ## also install Snakemake's plugin for Slurm (docs/cluster.md)

$(CLUSTER): requirements-cluster.lock $(INSTALLED)
	$(PIP) install --quiet --require-hashes --requirement requirements-cluster.lock
	@touch $@

cluster-test: $(CLUSTER)  ## as root, on Debian with Slurm: disturb a run on a Slurm of one node: results/cluster-test
	python -m tests.cluster --output results/cluster-test

audit: $(INSTALLED)  ## bandit over the packages, pip-audit over the lock (docs/faults.md)
	$(PYTHON) -m venv $(ENVIRONMENT)/audit
	$(ENVIRONMENT)/audit/bin/python -m pip install --quiet bandit==1.9.4 pip-audit==2.10.1
	$(ENVIRONMENT)/audit/bin/bandit --quiet --configfile pyproject.toml --recursive \
		algorithms analysis envs offline_data paper_figures storage workflow
	.ci/audit $(ENVIRONMENT)/audit/bin/pip-audit requirements.lock
	.ci/audit $(ENVIRONMENT)/audit/bin/pip-audit requirements-cluster.lock
	.ci/audit $(ENVIRONMENT)/audit/bin/pip-audit requirements-docs.lock

format: $(INSTALLED)  ## rewrite the sources in the project's format
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

settings: $(INSTALLED)  ## write docs/settings.md, docs/gallery.md, README's table and the configurations' JSON schema
	python -m workflow.settings_page
	python -m workflow.results_page

lock: $(INSTALLED)  ## resolve every lock anew: the project's, the cluster plugin's, the site's, the benchmark's d3rlpy
	$(PYTHON) -m venv $(ENVIRONMENT)/lock
	$(ENVIRONMENT)/lock/bin/python -m pip install --quiet uv==0.11.8
	printf '%s; python_version < "3"\n' $(UNLOCKED) > $(ENVIRONMENT)/lock/unlocked.txt
	$(ENVIRONMENT)/lock/bin/uv pip compile --quiet pyproject.toml --extra checks --group torch-cpu \
		--override $(ENVIRONMENT)/lock/unlocked.txt --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --output-file requirements.lock
	$(ENVIRONMENT)/lock/bin/uv pip compile --quiet benchmarks/peers/d3rlpy.in \
		--override $(ENVIRONMENT)/lock/unlocked.txt --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --output-file benchmarks/peers/d3rlpy.lock
	for group in cluster docs; do \
		$(ENVIRONMENT)/lock/bin/uv pip compile --quiet --group $$group --constraint requirements.lock --universal \
			--python-version 3.11 --generate-hashes --no-header --no-annotate \
			--output-file requirements-$$group.lock || exit 1; \
	done

clean: $(INSTALLED)  ## remove every result of CONFIG (not the environment, not the committed reference results)
	results="$$(python -m workflow.configuration "$$CONFIG")" && rm -rf -- "$$results"
