#!/usr/bin/env bash
# The Python client's parser gives Triton's counters names that no server ever exported.
#
# Triton's counters have no _total (nv_inference_count), which the text format allows. prometheus_client's parser hands
# their samples out as nv_inference_count_total, because OpenMetrics, whose data model it has, wants that; the family
# keeps its name. Prometheus itself stores the name as it is scraped. So a test that reads a scrape with this parser
# and a query for Prometheus disagree about the very name, and a lookup by the exported name finds nothing.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip --quiet --quiet --disable-pip-version-check install prometheus-client==0.26.0

cat >scrape.txt <<'TEXT'
# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{model="digits",version="1"} 8
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="digits",version="1"} 0
TEXT
cat >read.py <<'PYTHON'
import importlib.metadata
import sys

from prometheus_client.parser import text_string_to_metric_families

print("prometheus-client", importlib.metadata.version("prometheus-client"))
names = {}
for family in text_string_to_metric_families(open("scrape.txt").read()):
    names[family.name] = [sample.name for sample in family.samples]
    print(f"scraped {family.name} ({family.type}), the parser's samples: {', '.join(names[family.name])}")
expected = {
    "nv_inference_count": ["nv_inference_count_total"],
    "nv_inference_pending_request_count": ["nv_inference_pending_request_count"],
}
if names != expected:
    sys.exit("CHANGED: the behaviour is another now")
PYTHON
env/bin/python read.py
