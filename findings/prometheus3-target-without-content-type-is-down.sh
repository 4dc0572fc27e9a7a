#!/usr/bin/env bash
# A target whose answer has no Content-Type is up in Prometheus 2, which takes it for the text format, and down in
# Prometheus 3, which reads nothing of it, until scrape_configs say fallback_scrape_protocol: a field that Prometheus 2
# refuses, so that no one configuration serves both.
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

# The target: one metric in the text format, and no Content-Type.
target=$(free_port)
cat > target.py <<'TARGET'
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"requests_total 1\n")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
TARGET
python3 target.py "$target" & echo $! >> pids
cat > plain.yml <<CONFIG
global: {scrape_interval: 1s}
scrape_configs: [{job_name: target, static_configs: [{targets: ["127.0.0.1:$target"]}]}]
CONFIG
sed 's/job_name: target/&, fallback_scrape_protocol: PrometheusText0.0.4/' plain.yml > fallback.yml

health() { # RELEASE CONFIGURATION: health and last error of the target, or why it did not start
  local port answer
  port=$(free_port)
  "$1/usr/bin/prometheus" --config.file="$2" --storage.tsdb.path="data-$1-$2" \
    --web.listen-address="127.0.0.1:$port" > "$1.log" 2>&1 & echo $! >> pids
  for _ in $(seq 120); do
    kill -0 $! 2>/dev/null || { grep -o 'field [a-z_]* not found' "$1.log" || tail -n 1 "$1.log"; return; }
    answer=$(curl -s "http://127.0.0.1:$port/api/v1/targets" || true)
    if grep -qE '"health":"(up|down)"' <<< "$answer"; then
      grep -oE '"(health|lastError)":"([^"\\]|\\.)*"' <<< "$answer" | tr '\n' ' '
      return
    fi
    sleep 0.5
  done
  echo "not scraped within a minute"
}

for release in trixie sid; do unpack "$release"; done
two=$(health trixie plain.yml)
two_fallback=$(health trixie fallback.yml)
three=$(health sid plain.yml)
three_fallback=$(health sid fallback.yml)
trixie/usr/bin/prometheus --version | head -n 1
echo "  $two"
echo "  with fallback_scrape_protocol: $two_fallback"
sid/usr/bin/prometheus --version | head -n 1
echo "  $three"
echo "  with fallback_scrape_protocol: $three_fallback"
grep -q '"health":"up"' <<< "$two" || { echo "CHANGED: Prometheus 2"; exit 1; }
grep -q 'fallback_scrape_protocol not found' <<< "$two_fallback" || { echo "CHANGED: Prometheus 2 knows the field"; exit 1; }
grep -q '"health":"down"' <<< "$three" || { echo "CHANGED: Prometheus 3"; exit 1; }
grep -q '"health":"up"' <<< "$three_fallback" || { echo "CHANGED: Prometheus 3's fallback"; exit 1; }
echo "As found: without a Content-Type a target is up in Prometheus 2 and down in Prometheus 3."
