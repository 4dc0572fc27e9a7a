#!/usr/bin/env bash
# Prometheus 3 stores the label le="1" of a classic histogram's bucket as le="1.0", whatever the target wrote, for the
# text format as well. Prometheus 2 stores what was written. A query, rule or dashboard that names a whole bound
# (le="1"), or that joins a label of another metric with le, finds nothing after the upgrade, without any error; one
# that names "1.0" finds nothing before it. Bounds that are no whole numbers ("0.5") stay as they are.
#
# Needs Debian's apt and an archive that it is configured with; the packages of Debian 13 (2.53) and of the unstable
# release (3.x) are unpacked into a temporary folder. Ends with 1 if one behaves otherwise.
set -euo pipefail
work=$(mktemp -d)
cd "$work"
touch pids # of all that is started, in subshells too
trap 'xargs -r kill < pids 2>/dev/null || true; sleep 1; rm -rf "$work"' EXIT
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')

unpack() { # RELEASE
  local release=$1
  mkdir -p "$release/lists/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $release main" > "$release/sources.list"
  local apt=(-o "Dir::Etc::SourceList=$work/$release/sources.list" -o Dir::Etc::SourceParts=- -o APT::Default-Release=
    -o "Dir::State::Lists=$work/$release/lists" -o "Dir::Cache=$work/$release" -o APT::Sandbox::User=root
    -o Acquire::Languages=none)
  apt-get "${apt[@]}" -qq update
  (cd "$release" && apt-get "${apt[@]}" -qq download prometheus)
  dpkg-deb -x "$release"/prometheus_*.deb "$release"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The target: a classic histogram in the text format, as its own documentation writes it.
mkdir site
cat > site/metrics <<'METRICS'
# TYPE request_seconds histogram
request_seconds_bucket{le="0.5"} 1
request_seconds_bucket{le="1"} 2
request_seconds_bucket{le="+Inf"} 3
request_seconds_sum 4
request_seconds_count 3
METRICS
target=$(free_port)
cat > target.py <<'TARGET'
import http.server, sys
body = open("site/metrics", "rb").read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
TARGET
python3 target.py "$target" & echo $! >> pids
cat > prometheus.yml <<CONFIG
global: {scrape_interval: 1s}
scrape_configs: [{job_name: target, static_configs: [{targets: ["127.0.0.1:$target"]}]}]
CONFIG

bounds() { # RELEASE: the values of le that it stores
  local port answer
  port=$(free_port)
  "$1/usr/bin/prometheus" --config.file=prometheus.yml --storage.tsdb.path="data-$1" \
    --web.listen-address="127.0.0.1:$port" > "$1.log" 2>&1 & echo $! >> pids
  for _ in $(seq 120); do
    answer=$(curl -s "http://127.0.0.1:$port/api/v1/label/le/values" || true)
    if grep -q Inf <<< "$answer"; then echo "$answer"; return; fi
    sleep 0.5
  done
  echo "no sample within a minute: $(tail -n 3 "$1.log")"
}

for release in trixie sid; do unpack "$release"; done
two=$(bounds trixie)
three=$(bounds sid)
echo "scraped: $(grep -o 'le="[^"]*"' site/metrics | tr '\n' ' ')"
echo "$(trixie/usr/bin/prometheus --version | head -n 1)"; echo "  stores $two"
echo "$(sid/usr/bin/prometheus --version | head -n 1)"; echo "  stores $three"
grep -q '"1"' <<< "$two" && ! grep -q '"1.0"' <<< "$two" || { echo "CHANGED: Prometheus 2"; exit 1; }
grep -q '"1.0"' <<< "$three" && ! grep -q '"1"' <<< "$three" || { echo "CHANGED: Prometheus 3"; exit 1; }
grep -q '"0.5"' <<< "$three" || { echo "CHANGED: other bounds"; exit 1; }
echo 'As found: what was scraped as le="1" is le="1.0" in Prometheus 3.'
