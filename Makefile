# Every target installs what it needs first. `make help` lists them.
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin
export PYTHON
unexport PYTHONDONTWRITEBYTECODE  # or each process of a test run would compile everything anew

.PHONY: help install demo demo-vm dev down image quick test test-cloud test-matrices test-tempest lint types bench sample clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: ## install missing system packages, and make .venv
	@scripts/install-system-packages
	@scripts/make-venv

demo: install ## the main job, told as it goes: real agents, real HAProxy, an amphora killed
	@$(BIN)/figlina demo

demo-vm: install image ## the same with virtual machines, of an image that is built first (six minutes; without KVM they are emulated)
	@$(BIN)/figlina demo --compute qemu

dev: install ## run everything in the background on this machine (also: figlina dev down, status, exec, restart)
	@$(BIN)/figlina dev up

down: install ## stop what `make dev` started
	@$(BIN)/figlina dev down

image: ## build the amphora image for virtual machines: build/image/amphora.qcow2 (three minutes; root)
	@scripts/install-system-packages image
	@images/build

# The folders of which `quick` runs something: to read all others takes each of its processes seconds.
QUICK = tests/test_architecture.py tests/test_linters.py tests/unit tests/contract tests/functional

quick: install ## two cases of each unit, contract and functional test, nothing that takes a second: no root, no network, no database servers
	@$(BIN)/pytest -n 2 --cases 2 -m "not integration and not vm and not cloud and not slow and not lengthy" $(QUICK)

# What is written in bash, for DevStack; bashate's E006 would end lines at 79 characters.
BASH_FILES = devstack/plugin.sh devstack/settings $(wildcard devstack/lib/*) tests/devstack/run_phases tests/devstack/bin/sudo

lint: install ## ruff: style, imports, common mistakes; bashate and shellcheck for the DevStack plug-in
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/bashate --ignore E006 $(BASH_FILES)
	@$(BIN)/shellcheck --shell bash $(BASH_FILES)

types: install ## mypy, strict, of tests and benchmarks as well
	@$(BIN)/mypy

test: install ## every test that this machine can run; says what it skipped and why
	@failed=0; \
	FIGLINA_HAPROXIES="$${FIGLINA_HAPROXIES-$$(scripts/other-haproxies)}" $(BIN)/pytest -n 3 -m "not integration and not vm and not cloud" || failed=1; \
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "(integration or vm or cloud) and not matrix" || failed=1; \
	exit $$failed

test-matrices: install ## what `make test` leaves out for its length: a worker killed after every task of every flow, a pair of virtual machines (a quarter of an hour; root)
	@$(BIN)/pytest -n 2 --dist loadfile -m matrix

test-cloud: install ## tests on the real cloud that OS_CLIENT_CONFIG_FILE names, with VMs of build/image (see tests/cloud/README.md; an hour and a half by emulation)
	@test -n "$$OS_CLIENT_CONFIG_FILE" || { echo "OS_CLIENT_CONFIG_FILE names no clouds.yaml: see tests/cloud/README.md" >&2; exit 1; }
	@$(BIN)/pytest -m cloud

test-tempest: install ## tempest's API tests of load balancing, all of them, over IPv4 and IPv6, with a real Keystone (half an hour; root)
	@$(BIN)/python -m tests.tempest

# What reads and writes most, with the flows and a whole site; all of it: FIGLINA_TEST_DATABASE=mariadb make test
ON_EACH_DATABASE = $(addprefix tests/functional/,api/test_writes.py api/test_whole.py api/test_lists.py api/test_l7.py api/test_quotas.py \
	test_flows_create.py test_flows_update.py test_flows_failover.py test_settlement.py test_deleted_listeners.py test_housekeeping.py test_health_manager.py) \
	tests/integration/test_main_job.py

test-databases: install ## a cut of the functional and integration tests on PostgreSQL and on MariaDB
	@failed=0; for kind in postgresql mariadb; do FIGLINA_TEST_DATABASE=$$kind $(BIN)/pytest -n 2 --dist loadfile -m "not slow" $(ON_EACH_DATABASE) || failed=1; done; exit $$failed

bench: install ## the benchmarks, one JSON line each
	@$(BIN)/python -m benchmarks

sample: install ## write etc/*.sample anew, after an option or a policy rule has changed
	@$(BIN)/oslo-config-generator --config-file etc/sample.conf --output-file etc/figlina.conf.sample
	@$(BIN)/oslopolicy-sample-generator --namespace figlina --output-file etc/policy.yaml.sample

clean: ## remove virtual environments and caches (not a running `make dev`: that is `make down`)
	@rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
