#!/usr/bin/env bash
# On Node 20 every unit of @grafana/data 13 throws "navigator is not defined", those of no time or date among them.
#
# getValueFormat('none')(1.5) builds the table of all units, whose dates ask for `navigator.languages` without asking
# first whether there is a navigator. Node has one from 21 on. Whoever formats values outside a browser (tests, a server
# that renders reports) on Node 20 has to set globalThis.navigator = { languages: ['en-US'] } before.
#
# Needs Node with npm; @grafana/data brings about 140 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

echo '{"private": true}' > package.json
npm install --silent --no-audit --no-fund --legacy-peer-deps \
  @grafana/data@13.2.3 react@19.3.1 react-dom@19.3.1 rxjs@7.8.2
cat > look.cjs <<'JS'
const { formattedValueToString, getValueFormat } = require('@grafana/data');
const shown = (unit) => {
  try {
    return formattedValueToString(getValueFormat(unit)(1.5));
  } catch (error) {
    return `${error.name}: ${error.message}`;
  }
};
const units = ['none', 'short', 'percentunit', 's', 'suffix: images/s'];
console.log(`Node ${process.version}, @grafana/data ${require('@grafana/data/package.json').version}`);
if (process.argv[2] === 'without') {
  delete globalThis.navigator; // as on Node 20, wherever this runs
} else {
  globalThis.navigator ??= { languages: ['en-US'] };
}
units.forEach((unit) => console.log(`${unit}: ${shown(unit)}`));
JS
node look.cjs without | tee without
node look.cjs with | tee with

[ "$(grep -c 'ReferenceError: navigator is not defined' without)" = 5 ] ||
  { echo "CHANGED: without a navigator"; exit 1; }
grep -q 'suffix: images/s: 1.50 *images/s' with || { echo "CHANGED: with a navigator"; exit 1; }
echo "As found: without a navigator no unit formats anything."
