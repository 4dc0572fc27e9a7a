#!/usr/bin/env bash
# `pip install grafana-foundation-sdk` gives the build for Grafana 10.1 (2023), though newer ones are released.
#
# Builds for old Grafana versions carry an epoch (1769699998!10.1.0), and an epoch outranks every version without one, so
# the release line of today's types (0.0.x) is never chosen unless it is pinned. The unpinned build writes dashboards of
# schema version 36 and knows neither the dashboards of version 2 nor the properties that came since; nothing says so.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >look.py <<'PYTHON'
import importlib.util
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
from grafana_foundation_sdk.builders import dashboard

written = dashboard.Dashboard("any").build().to_json()["schemaVersion"]
second = importlib.util.find_spec("grafana_foundation_sdk.builders.dashboardv2") is not None
print(version("grafana-foundation-sdk"), "schemaVersion", written, "dashboardv2", second)
PYTHON

install() {
  python3 -m venv "$1"
  "$1/bin/pip" --quiet --disable-pip-version-check install "$2" 2>&1 | grep -v 'is ignored: it is neither' || true
  "$1/bin/python" look.py
}
python3 --version
unpinned=$(install unpinned grafana-foundation-sdk)
pinned=$(install pinned grafana-foundation-sdk==0.0.21)
echo "pip install grafana-foundation-sdk:         $unpinned"
echo "pip install grafana-foundation-sdk==0.0.21: $pinned"

[[ $unpinned == *'!10.1.0 schemaVersion 36 dashboardv2 False' ]] || { echo "the unpinned install has changed"; exit 1; }
[[ $pinned == 'v0.0.21 schemaVersion 42 dashboardv2 True' ]] || { echo "0.0.21 has changed"; exit 1; }
echo "As told: the newest types must be pinned."
