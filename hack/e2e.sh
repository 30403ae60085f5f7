#!/usr/bin/env bash
# Runs test/e2e on the cluster of KUBECONFIG, or on one that kind makes for it and removes afterwards.
#
#   E2E_LOAD         command that brings an image's file to the cluster's nodes; its path is added. For a cluster of kind it is known.
#   E2E_RESTART      command that restarts the API server. For a cluster of kind it is known.
#   E2E_PREVIOUS     revision whose chart and image are installed first, to be upgraded; default the latest tag, or none where there is none
#   E2E_SHELL_IMAGE  image with sh, echo, cat and sleep; default busybox:1.37, which the nodes pull
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ -z "${KUBECONFIG:-}" ]; then
  command -v kind >/dev/null && docker info >/dev/null 2>&1 || { echo "e2e: set KUBECONFIG, or have kind and a Docker engine" >&2; exit 1; }
  name=service-token-operator-e2e
  KUBECONFIG=$(mktemp)
  export KUBECONFIG
  trap 'kind delete cluster --name "$name"; rm -f "$KUBECONFIG"' EXIT
  kind create cluster --name "$name" --wait 2m
  E2E_LOAD=${E2E_LOAD:-kind load image-archive --name $name}
  export E2E_RESTART="${E2E_RESTART:-docker exec $name-control-plane pkill kube-apiserver}"
fi
: "${E2E_LOAD:?is not set: the command that brings an image to the nodes, such as \`kind load image-archive --name NAME\`}"
: "${E2E_RESTART:?is not set: the command that restarts the API server}"

previous=${E2E_PREVIOUS-$(git describe --tags --abbrev=0 2>/dev/null || true)}
if [ -n "$previous" ]; then
  tree=$PWD/dist/e2e-previous
  rm -rf "$tree"
  mkdir -p "$tree"
  git archive "$previous" | tar -x -C "$tree"
  (cd "$tree" && KO_DOCKER_REPO=e2e.local/previous VERSION="$previous" COMMIT=previous DATE=unknown "$OLDPWD/bin/ko" build --bare --push=false --sbom=none \
    --tags=e2e --platform="linux/$(go env GOARCH)" --tarball="$OLDPWD/dist/e2e-previous.tar" .)
  $E2E_LOAD "$PWD/dist/e2e-previous.tar"
  export E2E_PREVIOUS_CHART="$tree/charts/service-token-operator" E2E_PREVIOUS_IMAGE=e2e.local/previous:e2e
fi
for image in dist/e2e-manager.tar dist/e2e-infisical.tar; do
  $E2E_LOAD "$PWD/$image"
done
E2E_IMAGE=e2e.local/service-token-operator:e2e E2E_INFISICAL_IMAGE=e2e.local/infisical:e2e \
  E2E_SHELL_IMAGE=${E2E_SHELL_IMAGE:-busybox:1.37} \
  go test -tags=e2e -count=1 -timeout=30m -v "$@" ./test/e2e
