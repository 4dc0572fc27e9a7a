#!/usr/bin/env bash
# A legend that is configured with grafana-foundation-sdk is hidden, unless it is also told to be shown.
#
# VizLegendOptions() writes "showLegend": false with a placement and a display mode, so a panel whose legend is only told
# where to stand has none. A panel without any legend options is written with a hidden one, too. In Grafana itself a new
# time series panel shows its legend. `legend(VizLegendOptions().show_legend(True))` on every panel is what is meant.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip --quiet --disable-pip-version-check install grafana-foundation-sdk==0.0.21 2>&1 |
  grep -v 'is ignored: it is neither' || true
cat >look.py <<'PYTHON'
import json
import warnings

warnings.simplefilter("ignore")
from grafana_foundation_sdk.builders import common, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement


def legend(panel: timeseries.Panel) -> str:
    written = json.loads(json.dumps(panel.build(), cls=JSONEncoder))
    return json.dumps(written["options"]["legend"], sort_keys=True)


right = common.VizLegendOptions().placement(LegendPlacement.RIGHT)
print("no options:   ", legend(timeseries.Panel()))
print("placed right: ", legend(timeseries.Panel().legend(right)))
print("told to show: ", legend(timeseries.Panel().legend(right.show_legend(True))))
PYTHON
python3 --version
env/bin/pip --disable-pip-version-check list 2>/dev/null | grep -i grafana
env/bin/python look.py | tee seen

[ "$(grep -c '"showLegend": false' seen)" = 2 ] || { echo "the default has changed"; exit 1; }
grep -q 'told to show: .*"showLegend": true' seen || { echo "a legend can no longer be shown so"; exit 1; }
echo "As told: a legend is hidden until it is told to be shown."
