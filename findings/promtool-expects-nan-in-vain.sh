#!/usr/bin/env bash
# A unit test of promtool that expects NaN (`value: .nan`) fails where the expression gives NaN: "exp: {} NaN, got: {}
# NaN". So a rule that gives NaN (0/0, a gauge that reports NaN) cannot be tested for its value, only for whether it is
# there, as in `count(x != x)`, or with the alert that it fires. NaN as input has to be written out, "NaN NaN NaN": the
# short form of every other number, "NaNx3", is a parse error.
#
# Needs Debian's apt and an archive that it is configured with; promtool of Debian 13 (2.53) and of the unstable release
# (3.x) is unpacked into a temporary folder. Ends with 1 if one behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')

unpack() { # RELEASE: the path of its promtool
  local release=$1 package
  mkdir -p "$release/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" > "$release/sources.list"
  local apt=(-o "Dir::Etc::SourceList=$work/$release/sources.list" -o Dir::Etc::SourceParts=- -o APT::Default-Release=
    -o "Dir::State::Lists=$work/$release/lists" -o "Dir::Cache=$work/$release" -o APT::Sandbox::User=root
    -o Acquire::Languages=none)
  apt-get "${apt[@]}" -qq update
  for package in promtool prometheus; do # one of its own since Debian 13 or later
    (cd "$release" && apt-get "${apt[@]}" -qq download "$package" 2>/dev/null) || continue
    dpkg-deb -x "$release/$package"_*.deb "$release"
    [ ! -x "$release/usr/bin/promtool" ] || return 0
  done
}

cat > expected.yaml <<'TEST'
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: zero, values: "0 0"}]
    promql_expr_test: [{expr: zero / zero, eval_time: 1m, exp_samples: [{labels: "{}", value: .nan}]}]
TEST
cat > counted.yaml <<'TEST'
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series: [{series: loss, values: "NaN NaN"}]
    promql_expr_test: [{expr: count(loss != loss), eval_time: 1m, exp_samples: [{labels: "{}", value: 1}]}]
TEST
sed 's/"NaN NaN"/"NaNx1"/' counted.yaml > short.yaml

for release in trixie sid; do
  unpack "$release"
  promtool="$release/usr/bin/promtool"
  echo "== $("$promtool" --version 2>&1 | head -n 1)"
  for test in expected counted short; do
    if said=$("$promtool" test rules "$test.yaml" 2>&1); then passed=yes; else passed=no; fi
    echo "$test.yaml passes: $passed"
    grep -E 'exp:|got:|error' <<< "$said" || true
    case "$test $passed" in
      "counted yes") ;;
      "expected no") grep -q 'got: {} NaN' <<< "$said" || { echo CHANGED; exit 1; } ;;
      "short no") grep -q 'unexpected identifier "NaNx1"' <<< "$said" || { echo CHANGED; exit 1; } ;;
      *) echo CHANGED; exit 1 ;;
    esac
  done
done
echo "As found: NaN is not what it is expected to be, and has no short form."
