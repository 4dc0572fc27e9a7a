#!/usr/bin/env bash
# Debian 12's package `prometheus` (2.42) is built without Kubernetes service discovery: a configuration with
# kubernetes_sd_configs is refused as if the field were misspelt. No word of it is in the package's description or
# NEWS. Debian 13's (2.53) has it again.
#
# Needs Debian's apt and an archive that it is configured with. Nothing is installed: packages are unpacked into a
# temporary folder. Ends with 1 if either package behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')

unpack() { # RELEASE PACKAGE...
  local release=$1 package
  shift
  mkdir -p "$release/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" > "$release/sources.list"
  local apt=(-o "Dir::Etc::SourceList=$work/$release/sources.list" -o Dir::Etc::SourceParts=- -o APT::Default-Release=
    -o "Dir::State::Lists=$work/$release/lists" -o "Dir::Cache=$work/$release" -o APT::Sandbox::User=root
    -o Acquire::Languages=none)
  apt-get "${apt[@]}" -qq update
  for package in "$@"; do
    (cd "$release" && apt-get "${apt[@]}" -qq download "$package")
    dpkg-deb -x "$release/$package"_*.deb "$release"
  done
}

cat > prometheus.yml <<'CONFIG'
scrape_configs:
  - job_name: pods
    kubernetes_sd_configs:
      - role: pod
        api_server: https://127.0.0.1:6443
CONFIG
unpack bookworm prometheus
unpack trixie promtool

echo "== Debian 12: $(bookworm/usr/bin/promtool --version | head -n 1)"
twelve=$(bookworm/usr/bin/promtool check config prometheus.yml 2>&1) && status12=0 || status12=$?
echo "$twelve"
echo "== Debian 13: $(trixie/usr/bin/promtool --version | head -n 1)"
thirteen=$(trixie/usr/bin/promtool check config prometheus.yml 2>&1) && status13=0 || status13=$?
echo "$thirteen"

[ "$status12" -ne 0 ] && grep -q 'field kubernetes_sd_configs not found' <<< "$twelve" || { echo "CHANGED: Debian 12"; exit 1; }
[ "$status13" -eq 0 ] || { echo "CHANGED: Debian 13"; exit 1; }
echo "As found: Debian 12's Prometheus knows no kubernetes_sd_configs, Debian 13's does."
