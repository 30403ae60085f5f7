# Needs Go, make, git and a Go module proxy; everything else is built into bin/ at the version that hack/tools pins.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
DATE ?= $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)
IMG ?= service-token-operator:$(VERSION)
CONTAINER_TOOL ?= docker
# The cluster that install, deploy and run work on is the one that this kubectl talks to.
KUBECTL ?= $(shell command -v kubectl || echo bin/k8s/kubectl)
FUZZTIME ?= 30s
CHART := charts/service-token-operator
# More flags for go test, such as TESTFLAGS='-run Rotation -v', for the operator in `make run`, and for `make bench`.
TESTFLAGS ?=
ARGS ?=
BENCHFLAGS ?=

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

# One setting everywhere, or the build cache holds everything twice. Only the race detector needs cgo.
export CGO_ENABLED := 0
BUILDFLAGS := -trimpath -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)"
RACE := $(if $(shell command -v "$$(go env CC)"),-race)

# What `make generate manifests docs` writes.
GENERATED := api/v1alpha1/zz_generated.deepcopy.go config/crd/bases config/rbac/role.yaml config/rollout/role.yaml docs/api.md docs/metrics.md $(CHART)/files

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z_-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: build ## See it work, with a cluster and an Infisical of its own; EXIT=1 ends by itself.
	go build -trimpath -o bin/demo ./hack/demo
	@assets=$$(hack/controlplane.sh) && exec bin/demo --assets "$$assets" --manager bin/manager $(if $(filter-out 0,$(EXIT)),--exit)

.PHONY: bench
bench: build bin/plot ## Measure cold start, idle, memory and more, in about an hour, into bench/; BENCHFLAGS='--rows=decrypt --out=' measures less.
	go build -trimpath -o bin/bench ./hack/bench
	go build -trimpath -o bin/devserver ./hack/devserver
	@assets=$$(hack/controlplane.sh) && bin/bench --assets="$$assets" --out=bench $(BENCHFLAGS)
	bin/plot bench/results.json

.PHONY: clean
clean: ## Remove everything that was built.
	rm -rf bin dist

##@ Development

.PHONY: generate
generate: bin/controller-gen ## Generate the deep copies of the API types.
	bin/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: bin/controller-gen ## Generate the CRD and the operator's roles, for config/ and the chart, from the markers in the code.
	bin/controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	bin/controller-gen rbac:roleName=manager-role paths=./api/... paths=./controllers/... output:rbac:artifacts:config=config/rbac
	bin/controller-gen rbac:roleName=rollout-role paths=./internal/rollout/... output:rbac:artifacts:config=config/rollout
	cp config/crd/bases/*.yaml $(CHART)/files/crds/
	cp config/rbac/role.yaml $(CHART)/files/
	for part in rollout configmap-targets cluster-secrets kubernetes-auth push; do cp "config/$$part/role.yaml" "$(CHART)/files/$$part-role.yaml"; done

.PHONY: docs
docs: bin/crd-ref-docs ## Generate docs/api.md from the API types, and docs/metrics.md from the families in controllers/.
	@mkdir -p docs
	go run ./hack/metricsdoc >docs/metrics.md
	bin/crd-ref-docs --source-path=api --config=hack/api-docs/config.yaml --templates-dir=hack/api-docs --renderer=markdown --output-path=docs/api.md --log-level=ERROR

.PHONY: fmt
fmt: bin/golangci-lint ## Format the code.
	bin/golangci-lint fmt

.PHONY: vet
vet: ## Run go vet.
	go vet -tags=e2e ./...

.PHONY: lint
lint: bin/golangci-lint ## Run the linters.
	bin/golangci-lint run

.PHONY: test
test: build bin/kustomize bin/helm bin/kubeconform bin/promtool bin/prometheus ## Run all tests, with the race detector where there is a C compiler, and show the coverage of internal/.
	@$(if $(RACE),,echo "no C compiler: the tests run without the race detector" >&2)
	@assets=$$(hack/controlplane.sh) && set -x && \
	KUBEBUILDER_ASSETS="$$assets" KUSTOMIZE="$(CURDIR)/bin/kustomize" HELM="$(CURDIR)/bin/helm" \
	KUBECONFORM="$(CURDIR)/bin/kubeconform" PROMTOOL="$(CURDIR)/bin/promtool" PROMETHEUS="$(CURDIR)/bin/prometheus" MANAGER="$(CURDIR)/bin/manager" CGO_ENABLED=$(if $(RACE),1,0) \
		go test $(RACE) -timeout 20m -coverprofile=bin/cover.out $(TESTFLAGS) ./...
	@grep -E '^mode:|/internal/' bin/cover.out >bin/cover-internal.out
	@go tool cover -func=bin/cover-internal.out | awk '/^total:/ {print "coverage of internal/: " $$NF}'

.PHONY: test-e2e
test-e2e: bin/helm bin/ko ## Use the operator as a user does, on the cluster of KUBECONFIG or one that kind makes; hack/e2e.sh says how.
	@mkdir -p dist
	$(call image,e2e.local/service-token-operator:e2e,.,dist/e2e-manager.tar)
	$(call image,e2e.local/infisical:e2e,./hack/devserver,dist/e2e-infisical.tar)
	@assets=$$(hack/controlplane.sh) && HELM="$(CURDIR)/bin/helm" KUBECTL="$$assets/kubectl" hack/e2e.sh $(TESTFLAGS)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME.
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' internal | while IFS=: read -r file target; do \
		(set -x; go test "./$$(dirname "$$file")" -run='^$$' -fuzz="^$${target#func }\$$" -fuzztime=$(FUZZTIME)) || exit; \
	done

.PHONY: verify
verify: generate manifests docs bin/kustomize ## Check that generated files are up to date and the kustomizations build.
	@changed=$$(git status --porcelain --untracked-files=all -- $(GENERATED)); \
	if [ -n "$$changed" ]; then \
		git --no-pager diff -- $(GENERATED); \
		printf 'generated files are not up to date, or not committed:\n%s\n' "$$changed" >&2; \
		exit 1; \
	fi
	@for module in . hack/tools hack/tools/golangci-lint hack/tools/helm hack/tools/ko hack/tools/prometheus; do (set -x; go -C "$$module" mod tidy -diff) || exit; done
	@for dir in crd default two-releases samples network-policy prometheus rollout configmap-targets cluster-secrets kubernetes-auth push; do (set -x; bin/kustomize build "config/$$dir" >/dev/null) || exit; done

.PHONY: controlplane
controlplane: ## Put etcd, kube-apiserver and kubectl into bin/k8s.
	hack/controlplane.sh

##@ Build

.PHONY: build
build: ## Build the operator into bin/manager.
	go build $(BUILDFLAGS) -o bin/manager .

# ko needs no engine. KO_DEFAULTBASEIMAGE is another base than .ko.yaml's. A file of an image is for `kind load image-archive`,
# `ctr images import` or `docker load`.
# $(call image,REPOSITORY:TAG,PACKAGE,FILE)
image = KO_DOCKER_REPO=$(patsubst %:$(lastword $(subst :, ,$(1))),%,$(1)) VERSION=$(VERSION) COMMIT=$(COMMIT) DATE=$(DATE) bin/ko build --bare --push=false \
	--sbom=none --tags=$(lastword $(subst :, ,$(1))) --platform=linux/$$(go env GOARCH) --tarball=$(3) $(2)

.PHONY: image
image: bin/ko ## Build the image IMG for this machine, without an engine, into dist/image.tar.
	@mkdir -p dist
	$(call image,$(IMG),.,dist/image.tar)

.PHONY: docker-build
docker-build: ## Build the image IMG.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) --build-arg DATE=$(DATE) -t $(IMG) .

.PHONY: build-installer
build-installer: bin/kustomize ## Write dist/install.yaml, which installs the operator with the image IMG.
	@mkdir -p dist
	$(RENDER) >dist/install.yaml

# A version that is not v1.2.3 is none for Helm.
SEMVER := $(if $(filter v%,$(VERSION)),$(patsubst v%,%,$(VERSION)),0.0.0-$(VERSION))
PLATFORMS ?= linux/amd64,linux/arm64
# Where the image of a release is pushed to; without it, the image is a folder in dist/.
PUSH ?=

.PHONY: release
release: build-installer bin/ko bin/helm ## Write all files of the release VERSION into dist/, and push its image to PUSH.
	@rm -rf dist/release && mkdir -p dist/release/sbom
	@for platform in $$(tr , ' ' <<<"$(PLATFORMS)"); do \
		(set -x; GOOS=$${platform%/*} GOARCH=$${platform#*/} go build $(BUILDFLAGS) -o "dist/release/service-token-operator_$(SEMVER)_$${platform/\//_}" .); \
	done
	KO_DOCKER_REPO=$(or $(PUSH),service-token-operator) VERSION=$(VERSION) COMMIT=$(COMMIT) DATE=$(DATE) SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) bin/ko build \
		--bare --platform=$(PLATFORMS) --tags=$(SEMVER) --sbom=spdx --sbom-dir=dist/release/sbom --image-refs=dist/release/image.txt \
		$(if $(PUSH),,--push=false --oci-layout-path=dist/release/image) .
	bin/helm package $(CHART) --version=$(SEMVER) --app-version=$(SEMVER) --destination=dist/release
	cp dist/install.yaml dist/release/
	cd dist/release && find . -maxdepth 2 -type f ! -name checksums.txt ! -path './image/*' -printf '%P\n' | sort | xargs sha256sum >checksums.txt

##@ Your cluster

.PHONY: run
run: build ## Run the operator here, against your cluster, with ARGS.
	POD_NAMESPACE="$${POD_NAMESPACE:-default}" exec bin/manager $(ARGS)

.PHONY: install
install: bin/kustomize ## Install the CRD.
	bin/kustomize build config/crd | $(KUBECTL) apply --server-side -f -

.PHONY: uninstall
uninstall: bin/kustomize ## Remove the CRD, and with it every ServiceTokenSecret.
	bin/kustomize build config/crd | $(KUBECTL) delete --ignore-not-found -f -

# config/ names the image without registry and version.
RENDER = bin/kustomize build config/default | sed 's|image: service-token-operator:latest$$|image: $(IMG)|'

.PHONY: deploy
deploy: bin/kustomize ## Install the CRD and the operator with the image IMG.
	$(RENDER) | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: bin/kustomize ## Remove the operator and the CRD, and with it every ServiceTokenSecret.
	$(RENDER) | $(KUBECTL) delete --ignore-not-found -f -

# $(call tool,MODULE DIRECTORY,PACKAGE) builds for this machine, whatever is being cross-compiled around it. Each tool
# depends on the go.mod that pins it, so that a new version there builds it anew.
define tool
@echo "building $@" >&2
@env -u GOOS -u GOARCH GOWORK=off go build -C $(1) -trimpath -buildvcs=false -ldflags "-s -w" -o "$(CURDIR)/$@" $(2)
@touch $@
endef

bin/controller-gen: hack/tools/go.mod
	$(call tool,hack/tools,sigs.k8s.io/controller-tools/cmd/controller-gen)

bin/kustomize: hack/tools/go.mod
	$(call tool,hack/tools,sigs.k8s.io/kustomize/kustomize/v5)

bin/crd-ref-docs: hack/tools/go.mod
	$(call tool,hack/tools,github.com/elastic/crd-ref-docs)

bin/plot: hack/tools/go.mod hack/tools/plot/main.go
	$(call tool,hack/tools,./plot)

bin/ko: hack/tools/ko/go.mod
	$(call tool,hack/tools/ko,github.com/google/ko)

bin/helm: hack/tools/helm/go.mod
	$(call tool,hack/tools/helm,helm.sh/helm/v3/cmd/helm)

bin/kubeconform: hack/tools/helm/go.mod
	$(call tool,hack/tools/helm,github.com/yannh/kubeconform/cmd/kubeconform)

# Both without the service discovery of many clouds, which is most of them.
bin/promtool: hack/tools/prometheus/go.mod
	$(call tool,hack/tools/prometheus,-tags=remove_all_sd github.com/prometheus/prometheus/cmd/promtool)

bin/prometheus: hack/tools/prometheus/go.mod
	$(call tool,hack/tools/prometheus,-tags=remove_all_sd github.com/prometheus/prometheus/cmd/prometheus)

bin/golangci-lint: hack/tools/golangci-lint/go.mod
	$(call tool,hack/tools/golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
