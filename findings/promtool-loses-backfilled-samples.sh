#!/usr/bin/env bash
# `promtool tsdb create-blocks-from openmetrics` leaves samples out without a word, and ends with 0.
#
# OpenMetrics wants the samples of one series in the order of their times. promtool takes a file in which one of them is
# older than the one before it, or in which one time has two values, and writes blocks that lack it: no message, exit
# status 0, and only a count of samples that is smaller than the number of lines. Whoever merges exports of several
# sources has to sort each series' lines before, and to count the samples afterwards.
#
# Needs Debian's apt. Nothing is installed: the package is unpacked into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

apt-get -qq -o APT::Sandbox::User=root download prometheus
dpkg-deb -x prometheus_*.deb .
promtool=usr/bin/promtool
"$promtool" --version | head -n 1

write() { # NAME TIME...: one series, its values 1, 2, 3
  local name=$1 value=0 time
  shift
  for time in "$@"; do
    value=$((value + 1))
    echo "m{a=\"b\"} $value $time"
  done > "$name"
  echo "# EOF" >> "$name"
}
write ordered 1794895200 1794895230 1794895260
write older 1794895200 1794895260 1794895230
write twice 1794895200 1794895260 1794895260

for name in ordered older twice; do
  echo "== $name: $(grep -c '^m' $name) samples in the file"
  "$promtool" tsdb create-blocks-from openmetrics "$name" "blocks-$name" && echo "exit status $?"
  cat "blocks-$name"/*/meta.json | sed -n 's/.*"numSamples": \([0-9]*\).*/\1/p' > "seen-$name"
  echo "samples in the blocks: $(cat "seen-$name")"
done

[ "$(cat seen-ordered)" = 3 ] && [ "$(cat seen-older)" = 2 ] && [ "$(cat seen-twice)" = 2 ] ||
  { echo "CHANGED"; exit 1; }
echo "As found: a sample that is out of order, and a second one of the same time, are lost silently."
