#!/usr/bin/env bash
# @grafana/data 13 exports its transformations with one of them under two names, which its own registry refuses.
#
# `standardTransformers` is the list of all transformations, and `standardTransformersRegistry` has to be filled by
# whoever uses transformDataFrame outside Grafana. Filling it from the list throws "Duplicate Key:joinByField" at the
# first transformation of a panel, whichever that is, because seriesToColumnsTransformer is joinByFieldTransformer under
# its old name. Take one for each id.
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
globalThis.navigator ??= { languages: ['en-US'] };
const data = require('@grafana/data');
const { standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame } = data;
const { lastValueFrom } = require('rxjs');
console.log(`Node ${process.version}, @grafana/data ${require('@grafana/data/package.json').version}`);

globalThis.window ??= {}; // asked for once a transformation runs, and taken for a browser while modules load

let all = Object.values(standardTransformers);
if (process.argv[2] === 'once') {
  all = [...new Map(all.map((each) => [each.id, each])).values()];
}
console.log(`${all.length} transformations, ${new Set(all.map((each) => each.id)).size} ids`);
standardTransformersRegistry.setInit(() => all.map((each) => ({ id: each.id, transformation: async () => each })));
const frame = toDataFrame({ fields: [{ name: 'a', values: [1, 2, 3] }] });
const run = async () => lastValueFrom(transformDataFrame([{ id: 'limit', options: { limitField: 2 } }], [frame]));
run().then(
  ([limited]) => console.log(`limit 2: ${limited.length} rows`),
  (error) => console.log(`limit 2: ${error.message}`)
);
JS
node look.cjs all | tee all
node look.cjs once | tee once

grep -q 'limit 2: Duplicate Key:joinByField' all || { echo "CHANGED: the whole list"; exit 1; }
grep -q 'limit 2: 2 rows' once || { echo "CHANGED: each id once"; exit 1; }
echo "As found: the list of all transformations cannot be registered as it is."
