#!/bin/bash
# Build the parts of Kubernetes that tests need from Debian's source package: `kubernetes_build.sh FOLDER [MIRROR]`.
# It takes 10 minutes on two busy cores, 3 GB of disk, and `apt install golang-go golang-github-modern-go-reflect2-dev`.
# Debian 12 has Kubernetes 1.20.2: old, but whole; what newer versions changed for us is held against schemas.
set -euo pipefail
OUT=$(mkdir -p "$1" && cd "$1" && pwd)
MIRROR=${2:-$(sed -n 's/^URIs: *\([^ ]*\/debian\)$/\1/p' /etc/apt/sources.list.d/*.sources | head -n 1)}
WORK=$OUT/work
mkdir -p "$WORK"/apt/{lists/partial,cache/archives/partial} "$WORK/go/src/k8s.io" && cd "$WORK"
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${MIRROR:-http://deb.debian.org/debian} bookworm main" > apt/list
APT=(-o "Dir::Etc::sourcelist=$WORK/apt/list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$WORK/apt/lists"
  -o "Dir::Cache=$WORK/apt/cache")
apt-get "${APT[@]}" update -qq
apt-get "${APT[@]}" source -qq --download-only kubernetes
tar -xzf kubernetes_*.orig.tar.gz -C go/src/k8s.io
mv go/src/k8s.io/kubernetes-* go/src/k8s.io/kubernetes
cd go/src/k8s.io/kubernetes
# The reflect2 that it brings crashes with Go 1.18 and later.
rm -rf vendor/github.com/modern-go/reflect2/*
cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} vendor/github.com/modern-go/reflect2/
rm -f vendor/github.com/modern-go/reflect2/*_test.go
export GOPATH=$WORK/go GOCACHE=$WORK/cache GO111MODULE=off CGO_ENABLED=0
# The archive lacks one made file: the API server's own description.
go build -o "$WORK/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
PACKAGES=$(grep -rlE '^// \+k8s:openapi-gen=' --include=*.go staging/src/k8s.io pkg cmd vendor/k8s.io/kube-openapi vendor/k8s.io/utils |
  grep -vE '/testdata/|_test.go|sample-|code-generator' | xargs -n 1 dirname | sort -u |
  sed -E 's#^staging/src/##; s#^(pkg|cmd)#k8s.io/kubernetes/\1#; s#^vendor/##' | paste -sd,)
"$WORK/openapi-gen" --logtostderr -h hack/boilerplate/boilerplate.generatego.txt -O zz_generated.openapi \
  -p k8s.io/kubernetes/pkg/generated/openapi -r "$WORK/report" -i "$PACKAGES" --output-base "$WORK/go/src"
for part in kube-apiserver kube-controller-manager kube-scheduler kubelet; do
  nice -n 10 go build -trimpath -o "$OUT/$part" -ldflags "-s -w" ./cmd/$part
done
