#!/usr/bin/env bash
# Builds kube-apiserver, kube-controller-manager and kube-scheduler 1.20.2 from Debian 12's own source package.
#
#   build_kubernetes.sh TARGET_DIR WORK_DIR
#
# For machines that reach Debian's packages but not Kubernetes' release downloads. About 200 s on two idle cores.
# TARGET_DIR receives the binaries, each by an atomic rename, so a kill never leaves a torn one; WORK_DIR is
# scratch and is removed on success. Prints "step K/6: ..." lines for the caller's progress bar.
set -euo pipefail
{ # read to the end before any of it runs, so that a checkout meanwhile does not change a running build
target=$1 work=$2
version=1.20.2
export DEBIAN_FRONTEND=noninteractive

step() { printf 'step %s\n' "$1"; }

step "1/6: installing the Go toolchain and build tools from Debian"
need=(golang-go golang-github-modern-go-reflect2-dev rsync jq dpkg-dev)
if ! dpkg -s "${need[@]}" >/dev/null 2>&1; then
  apt-get update -qq || true # another configured archive may be unreachable; the install below is what decides
  apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${need[@]}"
fi

rm -rf "$work"
mkdir -p "$work/lists/partial" "$work/source" "$target"
cd "$work"

step "2/6: fetching the kubernetes ${version} source package"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -n 1)
[ -n "$mirror" ] || { echo "apt has no source for Debian bookworm main" >&2; exit 1; }
echo "deb-src [signed-by=$keyring] $mirror bookworm main" > sources.list
apt_private=(-o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
             -o "Dir::State::Lists=$work/lists" -o APT::Sandbox::User=root)
apt-get "${apt_private[@]}" update -qq
(cd source && apt-get "${apt_private[@]}" source -qq --only-source kubernetes) # Debian names it 1.20.5+really1.20.2
tree=$(find source -maxdepth 1 -type d -name 'kubernetes-*' | head -n 1)
case $tree in *really${version}*) ;; *) echo "expected kubernetes $version, Debian now serves $tree" >&2; exit 1 ;; esac

step "3/6: mending what newer Go broke: reflect2 1.0.1 crashes under Go >= 1.18, so Debian's takes its place"
reflect2=vendor/github.com/modern-go/reflect2
rm -rf "${tree:?}/$reflect2"
cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 "$tree/$reflect2"
# Schema validation takes "" for null under Go >= 1.19: it compares reflect.Values, and both now point to one zero value.
# Under the Go that released 1.20.2 the comparison was never true for JSON, which leaves `data == nil`.
null_check='data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data))'
for validate in "$tree"/vendor/{github.com/go-openapi,k8s.io/kube-openapi/pkg/validation}/validate/type.go; do
  grep -qF "$null_check" "$validate" || { echo "$validate is not the file that this script mends" >&2; exit 1; }
  sed -i 's/data == nil || reflect.DeepEqual(.*) {/data == nil {/' "$validate"
done

step "4/6: laying the tree out as a GOPATH"
gopath=$work/gopath
mkdir -p "$gopath/src/k8s.io"
mv "$tree" "$gopath/src/k8s.io/kubernetes"
cd "$gopath/src/k8s.io/kubernetes"
cat > "$work/version" <<VERSION
KUBE_GIT_COMMIT='faecb196815e248d3ecfb03c680a4507229c2a56'
KUBE_GIT_TREE_STATE='archive'
KUBE_GIT_VERSION='v${version}'
KUBE_GIT_MAJOR='1'
KUBE_GIT_MINOR='20'
VERSION

step "5/6: compiling (the long step)"
export GOPATH=$gopath GO111MODULE=off CGO_ENABLED=0 GOFLAGS=-tags=providerless
export KUBE_GIT_VERSION_FILE=$work/version
programs=(kube-apiserver kube-controller-manager kube-scheduler)
make all WHAT="$(printf 'cmd/%s ' "${programs[@]}")" GOLDFLAGS="-s -w"

step "6/6: keeping the binaries in $target"
for program in "${programs[@]}"; do
  install -m 0755 "_output/bin/$program" "$target/.$program.partial"
  mv "$target/.$program.partial" "$target/$program"
done
chmod -R u+w "$work" && rm -rf "$work"
exit
}
