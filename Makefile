# podid. `make help` lists the targets; `make demo` and `make test` do all of their set-up themselves.
GO        ?= go
BIN       := bin
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS   := -s -w -X github.com/podid-io/podid/internal/telemetry.version=$(VERSION)
TOOL      := $(GO) tool -modfile=go.tools.mod
TESTFLAGS ?= -race
BENCHFLAGS ?=
SOAK      ?= 60s
FUZZ      ?= 5s
BENCH     ?=
IMAGES    ?=
ARCHS     ?= amd64,arm64
# need: install Debian packages unless a program is there
need = command -v $(1) >/dev/null || { echo "installing $(2)"; apt-get update -qq && apt-get install -y -qq --no-install-recommends $(2); }
# Plain manifests are what the chart renders, without what is Helm's alone.
PLAIN     = $(TOOL) helm template podid charts/podid --namespace podid-system --skip-tests
NOHELM    = sed -e '/helm\.sh\/chart:/d' -e '/app\.kubernetes\.io\/managed-by:/d' -e '/^\# Source:/d'
JS_CLIENT := examples/clients/js/node_modules/.package-lock.json
export PODID_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/podid

.PHONY: help build images generate check test e2e bench soak demo up down clean deps
help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## compile the programs into bin/
	@echo "compiling podid into $(BIN)/ (the first time takes a few minutes)" >&2
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/... ./examples/clients/...

images: ## make the container images, without a daemon, into bin/images; IMAGES="mic nmi": these alone; ARCHS=amd64: for these processors
	@$(GO) run ./build/images -version '$(VERSION)' -revision "$$(git rev-parse HEAD 2>/dev/null)" \
		-created "$$(git log -1 --format=%ct 2>/dev/null || echo 0)" -arch $(ARCHS) -o $(BIN)/images $(IMAGES)

generate: ## write the deepcopy code, the CRDs, the chart's copies of config/, deploy/ and docs/reference
	@$(TOOL) controller-gen object crd paths=./api/v1 output:crd:dir=config/crd
	@rm -rf charts/podid/crds charts/podid/files/policy charts/podid/files/rbac && mkdir charts/podid/crds
	@cp -r config/policy config/rbac charts/podid/files/ && rm charts/podid/files/rbac/namespace.yaml
	@for crd in config/crd/*.yaml; do sed -e 's|^  annotations:$$|&\n    meta.helm.sh/release-name: podid\n    meta.helm.sh/release-namespace: podid-system|' \
		-e 's|^  name: .*|  labels:\n    app.kubernetes.io/managed-by: Helm\n&|' $$crd > charts/podid/crds/$$(basename $$crd); done
	@mkdir -p deploy && cat config/crd/*.yaml > deploy/crds.yaml
	@for mode in standard managed; do $(PLAIN) --set operationMode=$$mode,namespace.create=true,uninstall.hook=false,installMICException=false \
		| $(NOHELM) > deploy/$$mode.yaml; done
	@$(PLAIN) --show-only templates/exceptions.yaml | $(NOHELM) > deploy/aks-exception.yaml
	@$(GO) run ./build/reference

check: deps ## lint, and see that generated files and go.mod are up to date
	@echo "checking generated files"
	@$(MAKE) -s generate && git diff --exit-code -- api config charts deploy docs/reference
	@echo "checking go.mod"
	@$(GO) mod tidy -diff && cd test/controlplane && $(GO) mod tidy -diff
	@echo "linting (the first time compiles golangci-lint)"
	@$(TOOL) golangci-lint run --timeout 15m ./...
	@cd test/controlplane && $(GO) vet ./...
	@cd test/prometheus && $(GO) mod tidy -diff && $(GO) vet ./...

test: deps build $(JS_CLIENT) ## run every test, on a real API server and in network namespaces
	@$(call need,gcc,gcc libc6-dev)
	@$(call need,iptables-legacy,iptables)
	@$(call need,wget,wget)
	@$(call need,nft,nftables)
	@$(GO) run ./test/localcluster/build kubectl
	@echo "testing"
	@$(GO) test $(TESTFLAGS) -timeout 60m ./...
	@echo "churning: a million steps"
	@$(GO) test -timeout 20m -count 1 -run Churn ./test/churn
	@echo "fuzzing: $(FUZZ) for each target"
	@$(GO) run ./test/soak -only fuzz -lasts $(FUZZ)

e2e: deps build ## install podid by Helm on nodes where real containers run, and use it as its users do; says what is missing where that cannot be
	@$(call need,containerd,containerd runc) || true
	@$(call need,/usr/lib/cni/ptp,containernetworking-plugins) || true
	@$(call need,nft,nftables) || true
	@PODID_NODE=1 $(GO) test -v -count 1 -timeout 0 ./test/node
	@$(call need,ipset,ipset) || true
	@$(call need,iptables,iptables) || true
	@echo "compiling Azure's network policy manager"
	@mkdir -p .local && cd test/policyengine && CGO_ENABLED=0 $(GO) build -trimpath -o $(CURDIR)/.local/policyengine .
	@PODID_POLICY_ENGINE=$(CURDIR)/.local/policyengine $(GO) test -v -count 1 -run '^TestPolicyEngine$$' ./test/e2e

bench: deps build ## measure; BENCH=nmi or mic: one program alone; BENCHFLAGS: -json prints one JSON object a line, -strict fails when a goal is missed
	@$(GO) run ./test/localcluster/build >&2
	@CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/bench ./test/bench && $(BIN)/bench -only "$(BENCH)" $(BENCHFLAGS)

soak: deps ## run the long tests at full stretch, each for SOAK (60s); prints a line of JSON for each figure
	@$(GO) run ./test/localcluster/build >&2
	@$(GO) run ./test/soak -lasts $(SOAK)

demo: deps build ## show the main job: a pod on a real API server gets its own Azure token
	@$(BIN)/podid demo

up: deps build ## start what the demo starts, and stay; .local/env says where
	@$(BIN)/podid demo up

down: ## end what `make up` started
	@if [ -x $(BIN)/podid ]; then $(BIN)/podid demo down; else echo "nothing to end: bin/podid is not built"; fi

# The JavaScript client among the tests' referees, with what its lock file names.
$(JS_CLIENT): examples/clients/js/package-lock.json examples/clients/js/package.json
	@$(call need,node,nodejs)
	@$(call need,npm,npm)
	@cd examples/clients/js && npm ci --silent --ignore-scripts --no-audit --no-fund && touch node_modules/.package-lock.json

deps:
	@$(call need,curl,curl ca-certificates)

clean: down ## remove what was built
	@rm -rf $(BIN) .local
