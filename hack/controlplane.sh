#!/usr/bin/env bash
# Prints a directory that holds etcd, kube-apiserver and kubectl, as envtest wants them in KUBEBUILDER_ASSETS.
#
# They come from the first of
#   1. $KUBEBUILDER_ASSETS, if it holds all three,
#   2. bin/k8s, if an earlier call put them there for the version pinned in hack/tools/controlplane/go.mod,
#   3. setup-envtest's download,
#   4. the Go modules pinned in hack/tools/controlplane, which takes minutes and needs nothing but Go and a module proxy.
# Standard output is the directory and nothing else; what is going on is told on standard error. bin/k8s appears in one
# move when it is complete, so a call that is interrupted leaves nothing half done.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/hack/tools
dest=$root/bin/k8s
download_limit=${CONTROLPLANE_DOWNLOAD_LIMIT:-90} # seconds; 0 goes straight to the build

say() { printf 'controlplane: %s\n' "$*" >&2; }
elapsed() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }

complete() {
  local name
  for name in etcd kube-apiserver kubectl; do [ -x "$1/$name" ] || return 1; done
}

# with_progress LIMIT NOTE COMMAND... runs the command with its output in $log, tells every 15 seconds how long it has
# been at it, and ends it after LIMIT seconds (0: never).
with_progress() {
  local limit=$1 note=$2 start=$SECONDS next=15 took status=0
  shift 2
  set -m # a process group of its own, so that all of it can be ended
  "$@" >"$log" 2>&1 &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.5
    took=$((SECONDS - start))
    if [ "$limit" -gt 0 ] && [ "$took" -ge "$limit" ]; then
      echo "not done after $limit s" >>"$log"
      kill -- "-$child" 2>/dev/null || true
      limit=0
    elif [ "$took" -ge "$next" ]; then
      say "$note: $(elapsed "$took") so far, $(wc -l <"$log" | tr -d ' ') modules and packages done"
      next=$((took + 15))
    fi
  done
  wait "$child" || status=$?
  child=
  return "$status"
}

# go_build DIRECTORY OUTPUT PACKAGE [LDFLAGS] builds for this machine, whatever is being cross-compiled around it.
go_build() {
  env -u GOOS -u GOARCH GOWORK=off CGO_ENABLED=0 GOGC="${GOGC:-400}" \
    go build -C "$1" -v -trimpath -buildvcs=false -ldflags "-s -w ${4:-}" -o "$2" "$3"
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  if complete "$KUBEBUILDER_ASSETS"; then
    printf '%s\n' "$KUBEBUILDER_ASSETS"
    exit
  fi
  say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS lacks etcd, kube-apiserver or kubectl, so it is not used"
fi

pinned() { sed -n "s#^[[:space:]]*$1 \(v[^ ]*\).*#\1#p" "$tools/controlplane/go.mod" | head -1; }
kubernetes=$(pinned k8s.io/kubernetes)
etcd=$(pinned go.etcd.io/etcd/server/v3)
major=${kubernetes#v} major=${major%%.*}
minor=${kubernetes#v*.} minor=${minor%%.*}
stamp="$kubernetes $(cat "$tools"/controlplane/{go.mod,go.sum,main.go} | cksum)"

if complete "$dest" && [ "$(cat "$dest/.stamp" 2>/dev/null)" = "$stamp" ]; then
  printf '%s\n' "$dest"
  exit
fi

child=
mkdir -p "$root/bin"
work=$(mktemp -d "$root/bin/.k8s.XXXXXX")
log=$work/log
cleanup() {
  [ -z "$child" ] || kill -- "-$child" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# deliver DIRECTORY makes it bin/k8s.
deliver() {
  complete "$1"
  "$1/kubectl" version --client >/dev/null
  printf '%s\n' "$stamp" >"$1/.stamp"
  rm -rf "$dest"
  mv "$1" "$dest"
  say "ready in bin/k8s after $(elapsed $SECONDS)"
  printf '%s\n' "$dest"
}

download() {
  go_build "$tools" "$work/setup-envtest" sigs.k8s.io/controller-runtime/tools/setup-envtest &&
    "$work/setup-envtest" use "$major.$minor.x" --bin-dir "$work/download" -p path >"$work/downloaded"
}

if [ "$download_limit" -gt 0 ]; then
  say "downloading Kubernetes $major.$minor (etcd, kube-apiserver, kubectl) with setup-envtest, for at most $download_limit s"
  if with_progress "$download_limit" downloading download && complete "$(cat "$work/downloaded")"; then
    deliver "$(cat "$work/downloaded")"
    exit
  fi
  say "no download: $(tail -1 "$log")"
fi

say "building Kubernetes $kubernetes and etcd $etcd from their Go modules instead: once, about 6 minutes on 2 cores"
flags=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done
flags+=" -X k8s.io/component-base/version.gitTreeState=archive -X k8s.io/component-base/version.gitCommit=unknown"
mkdir "$work/k8s"
if ! with_progress 0 building go_build "$tools/controlplane" "$work/k8s/controlplane" . "$flags"; then
  tail -20 "$log" >&2
  say "the build failed"
  exit 1
fi
for name in etcd kube-apiserver kubectl; do ln -s controlplane "$work/k8s/$name"; done
deliver "$work/k8s"
