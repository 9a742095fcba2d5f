# What this project needs is Go and make; everything else is installed by its
# own scripts into .cache (or $LIFEBOAT_CACHE).

SHELL := /bin/bash
export PATH := $(PATH):/usr/local/go/bin

# Tests run in the directory of their package: the cache must not depend on it.
ifdef LIFEBOAT_CACHE
export LIFEBOAT_CACHE := $(shell realpath -m -- "$$LIFEBOAT_CACHE")
endif

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Options of the demo, such as DEMO_ARGS="--flavor mysql --transactions 50000".
DEMO_ARGS ?=
# The server the demo runs on; the smallest unless it is to be MySQL.
DEMO_SERVER ?= $(if $(findstring mysql,$(DEMO_ARGS)),mysql-9.7,mariadb-10.11)
BENCH_ARGS ?=
FUZZ_TIME ?= 30s

.DEFAULT_GOAL := help

.PHONY: build
build: ## build bin/lifeboat and bin/lifeboat-guard
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: servers
servers: ## install the MySQL and MariaDB servers that tests run against
	scripts/servers

.PHONY: demo
demo: build ## show a recovery on a private server (DEMO_ARGS="--flavor mysql")
	scripts/servers $(DEMO_SERVER)
	bin/lifeboat demo $(DEMO_ARGS)

.PHONY: etcd
etcd: ## install the etcd that tests of the guard run against
	scripts/etcd

.PHONY: versitygw
versitygw: ## install the S3 server that tests of repositories run against
	scripts/versitygw

.PHONY: chromium
chromium: ## install the browser in which long tests look at reports (root, Debian)
	scripts/chromium

# Three packages at a time: each may have several servers running. The longest
# first: one that runs alone at the end leaves a processor idle.
LONGEST = ./test/guard ./internal/restore ./test/recovery ./test/faults ./test/threeway ./internal/archive ./internal/backup

.PHONY: test
test: servers etcd versitygw ## run all tests
	go test -p 3 -timeout 30m $(LONGEST) ./...

.PHONY: test-long
test-long: servers etcd versitygw ## run all tests and those that take hours
	go test -p 1 -tags long -timeout 3h ./...

.PHONY: test-race
test-race: servers etcd versitygw ## run all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -p 2 -timeout 60m ./...

.PHONY: mutants
mutants: servers etcd ## take each check of the guard out: a test must fail (an hour)
	go run ./test/guard/mutants

.PHONY: packages
packages: ## build .deb and .rpm of lifeboat and lifeboat-guard into dist/
	scripts/package dist

.PHONY: lint
lint: ## check the code, its layers and the scripts
	scripts/lint

.PHONY: bench
bench: build servers ## measure all ways to replay, side by side (BENCH_ARGS=...)
	scripts/servers sysbench
	go run ./bench/cmd/bench $(BENCH_ARGS)

.PHONY: fuzz
fuzz: ## run each fuzz test for FUZZ_TIME
	scripts/fuzz $(FUZZ_TIME)

.PHONY: clean
clean: ## remove what was built; the servers stay
	rm -rf bin dist

.PHONY: clean-cache
clean-cache: ## remove the installed servers and tools
	rm -rf "$${LIFEBOAT_CACHE:-.cache}"

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
