# SPDX-License-Identifier: Apache-2.0

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Without cgo, so that all targets but `test` share one set of compiled packages.
export CGO_ENABLED := 0

CONTROLLER_GEN = "$$(hack/tools/build.sh controller-gen)"
GOLANGCI_LINT = "$$(hack/tools/build.sh golangci-lint)"
HELM_PROGRAM = "$$(hack/tools/build.sh helm)"

# The race detector needs a C compiler; `make test RACE=` does without.
RACE ?= -race
# What to test, and further flags, as in `make test PACKAGES=./internal/lti/... FLAGS='-run Nonce -v'`.
PACKAGES ?= ./...
FLAGS ?=
# How long `make fuzz` tries each target.
FUZZTIME ?= 20s
# Flags of `make faults`.
FAULTS ?=
# The images' architectures, as in `make images ARCHES="amd64 arm64"`, and their version: tag, label and --version.
ARCHES ?= $(shell go env GOARCH)
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --always --dirty)
# Archives for `make cluster-load`.
IMAGES ?= bin/images/*.tar
# Flags of `make e2e`, as in E2E='--phase=evict --phase=rotate'; `make e2e E2E=--list` lists the phases.
E2E ?=
# The release before, for the phase upgrade of e2e: a tag or commit. Left out: the newest tag before this one.
export PREVIOUS ?=
# Flags of a benchmark, as in `make bench-control-plane BENCH=--steady=1m`.
BENCH ?=
# Of `make bench-micro`: for how long and how often each benchmark runs, which ones, and the results to compare with.
BENCHTIME ?= 100ms
COUNT ?= 6
ONLY ?= .
BASE ?=

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build the operator, the launch handler and configsync into ./bin.
	go build -o bin/ ./cmd/... ./hack/configsync

.PHONY: clean
clean: ## Remove ./bin, ./dist and the peers' node_modules; the control plane and the tools stay in the cache.
	rm -rf bin dist hack/peers/node_modules

##@ Development

.PHONY: generate
generate: ## Regenerate deep copies, CRDs, the operator's role, what the charts have of both, and the pages of docs/ that are tables.
	@mkdir -p bin && touch bin/.generating
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate.go.txt crd paths=./api/... output:crd:dir=config/crd
	$(CONTROLLER_GEN) rbac:roleName=lti-operator paths=./controllers/... output:rbac:dir=config/rbac
	go run ./hack/docs docs
	@# The CRD of a kind that is gone was not written again.
	@find config/crd -name 'lti-operator.io_*.yaml' ! -newer bin/.generating -delete
	go run ./hack/charts config charts

.PHONY: verify
verify: ## Fail when generated files, go.mod or go.sum are not up to date.
	@hack/tools/verify.sh

.PHONY: lint
lint: ## Lint Go and shell code, and prove that the linter still refuses what it must.
	$(GOLANGCI_LINT) run ./...
	$(GOLANGCI_LINT) run --build-tags charts ./charts
	cd hack/images && "$$(../tools/build.sh golangci-lint)" run ./...
	hack/tools/lint-selftest.sh
	hack/tools/ensure.sh shellcheck
	shellcheck -x .ci/run hack/*/*.sh

.PHONY: fmt
fmt: ## Format the Go code.
	$(GOLANGCI_LINT) fmt ./...

.PHONY: test
test: ## Run all tests, with the race detector, a real API server and a real PostgreSQL.
	hack/tools/ensure.sh $(if $(RACE),gcc) postgres
	assets="$$(hack/controlplane/build.sh)" && KUBEBUILDER_ASSETS="$$assets" \
		CGO_ENABLED=$(if $(RACE),1,0) go test $(RACE) -vet=off -timeout=20m $(FLAGS) $(PACKAGES)

.PHONY: charts-check
charts-check: ## Lint and render the charts, show all of it to a real API server, and try the alerts.
	hack/tools/ensure.sh promtool
	cd hack/tools/charts && go mod download github.com/prometheus-operator/prometheus-operator sigs.k8s.io/gateway-api
	helm=$(HELM_PROGRAM) && kubeconform="$$(hack/tools/build.sh kubeconform)" && assets="$$(hack/controlplane/build.sh)" && \
		HELM="$$helm" KUBECONFORM="$$kubeconform" KUBEBUILDER_ASSETS="$$assets" go test -tags charts -vet=off -count=1 ./charts $(FLAGS)

.PHONY: install-yaml
install-yaml: ## Render the charts into dist/install.yaml, for those who use neither Helm nor a GitOps tool.
	@mkdir -p dist
	hack/charts/install-yaml.sh >dist/install.yaml

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME each (default 20s).
	FUZZTIME=$(FUZZTIME) hack/tools/fuzz.sh

.PHONY: faults
faults: ## Kill handlers and database, set clocks and let gradebooks and the webhook fail; no grade or result may get lost. More with FAULTS='--seed=2 --faults=500'.
	hack/tools/ensure.sh postgres
	go build -tags faultclock -o bin/launch-handler-faults ./cmd/launch-handler
	go run ./hack/faults $(FAULTS)

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver and kubectl from source (once, some minutes) and print their folder.
	@hack/controlplane/build.sh

##@ Images and a real cluster

.PHONY: images
images: ## Build the images of operator and launch handler into bin/images; for a release with ARCHES="amd64 arm64" VERSION=v1.2.3.
	@ARCHES="$(ARCHES)" VERSION="$(VERSION)" hack/images/build.sh

.PHONY: images-check
images-check: ## Prove that the images of two copies of this tree are the same, byte for byte.
	@ARCHES="$(ARCHES)" hack/images/check.sh

.PHONY: cluster-up
cluster-up: bin/cluster ## Run a real Kubernetes node from source (as root, on Linux) and print its kubeconfig's path.
	@bin/cluster preflight
	@hack/tools/ensure.sh runc cni-plugins nft ip conntrack >&2
	@assets="$$(hack/cluster/build.sh)" && bin/cluster up --assets "$$assets"

.PHONY: cluster-load
cluster-load: bin/cluster ## Give images to that cluster: those of `make images`, or IMAGES='FILE...'.
	@bin/cluster load $(IMAGES)

.PHONY: cluster-check
cluster-check: images ## Start the cluster, run Pods of the images in it, end it, and see that the machine is as it was.
	@hack/cluster/check.sh

.PHONY: cluster-down
cluster-down: bin/cluster ## End that cluster, and see that nothing is left of it.
	@bin/cluster down

.PHONY: e2e
e2e: bin/cluster images ## Install images and charts on a real cluster, and launch while all around is disturbed; parts of it with E2E='--phase=evict'.
	@hack/tools/ensure.sh postgres $(if $(KUBECONFIG),,runc cni-plugins nft ip conntrack) >&2
	@go build -o bin/ ./cmd/kubectl-lti ./hack/e2e
	@helm=$(HELM_PROGRAM) && assets="$(if $(KUBECONFIG),,$$(hack/cluster/build.sh))" && bin/e2e --helm="$$helm" $${assets:+--assets="$$assets"} $(E2E)

.PHONY: e2e-long
e2e-long: ## The same with everything in full: the API server away for 5 minutes, 10,000 activities.
	@$(MAKE) --no-print-directory e2e E2E='--outage=5m --activities=10000 --changes=100 --launches=1000 $(E2E)'

.PHONY: bin/cluster
bin/cluster:
	@go build -o $@ ./hack/cluster

##@ Measure

.PHONY: bench
bench: bench-micro bench-control-plane bench-launches ## Run every benchmark in full; they print what is measured beside what is wanted.

.PHONY: bench-control-plane
bench-control-plane: build ## Measure the operator with 10,000 activities; less with BENCH='--activities=500 --steady=20s'.
	assets="$$(hack/controlplane/build.sh)" && KUBEBUILDER_ASSETS="$$assets" go run ./hack/bench/controlplane $(BENCH)

.PHONY: bench-launches
bench-launches: hack/peers/node_modules/.stamp ## Measure what launches cost, beside what others need; quickly with BENCH='--scenarios=tool13 --rounds=1 --launches=300 --learners=300'.
	hack/tools/ensure.sh node postgres
	go run ./hack/bench/launches $(BENCH)

.PHONY: bench-micro
bench-micro: ## Measure the pure cores with benchstat: some of them with ONLY=Launch, against a former result with BASE=FILE.
	@BENCHTIME=$(BENCHTIME) COUNT=$(COUNT) ONLY='$(ONLY)' BASE='$(BASE)' hack/tools/bench-micro.sh

##@ Demo

.PHONY: demo
demo: build hack/peers/node_modules/.stamp ## Run operator, launch handler, a platform, tools and an academy on this machine.
	hack/tools/ensure.sh postgres
	assets="$$(hack/controlplane/build.sh)" && KUBEBUILDER_ASSETS="$$assets" go run ./hack/demo

.PHONY: demo-check
demo-check: build hack/peers/node_modules/.stamp ## Run the demo and let a browser check that its launches work.
	hack/tools/ensure.sh chromium postgres
	go test -tags browser -count=1 -p 1 -run InABrowser ./internal/pages ./internal/handler
	assets="$$(hack/controlplane/build.sh)" && KUBEBUILDER_ASSETS="$$assets" go run ./hack/demo --check

hack/peers/node_modules/.stamp: hack/peers/package.json hack/peers/package-lock.json
	hack/tools/ensure.sh node npm
	npm --prefix hack/peers ci --no-audit --no-fund
	touch $@
