#!/usr/bin/env bash
# Triton takes any key in --metrics-config without a word, but refuses the model that configures the same metric.
#
# The latency histogram nv_inference_first_response_histogram_ms is switched on by `--metrics-config
# histogram_latencies=true` and given its buckets by `model_metrics` in config.pbtxt (docs/user_guide/metrics.md of the
# server). One that does not have it yet (24.10; the option is of 24.11, of ordinary models of 26.01) says nothing to
# the flag, as to a key that never existed: it starts, is ready, and the metric is simply not there. To `model_metrics`,
# which tritonclient's protobuf of the same project reads, it says "failed to read text proto", and the model is not
# served. So one setting can be given to every release and the other must not be.
set -euo pipefail

folder=$(mktemp -d)
server=""
finish() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT
cd "$folder"

python3 -m venv env
pip() { env/bin/pip --quiet --quiet --disable-pip-version-check install "$@"; }
pip numpy==1.26.4 'tritonclient[grpc]==2.73.0'
pip --no-deps nvidia-pytriton==0.7.0
minor=$(env/bin/python -c 'import sys; print(f"{sys.version_info.major}.{sys.version_info.minor}")')
packages=$(echo "$folder"/env/lib/python3*/site-packages)
wheel=$packages/pytriton/tritonserver

# The python backend as the wheel has it, with the stub for this Python beside it, and the libraries of both.
mkdir -p backends/python
cp "$wheel"/backends/python/*.* backends/python/
cp "$wheel/python_backend_stubs/$minor/triton_python_backend_stub" backends/python/
python_library=$(env/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
export LD_LIBRARY_PATH="$packages/nvidia_pytriton.libs:$python_library"

# One model that hands its input back, twice: `plain`, and `measured`, whose configuration speaks of the histogram.
for model in plain measured; do
  mkdir -p "models/$model/1"
  cat >"models/$model/1/model.py" <<'PYTHON'
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("y", tensor)]) for tensor in tensors]
PYTHON
  cat >"models/$model/config.pbtxt" <<'PBTXT'
backend: "python"
input [{ name: "x" data_type: TYPE_FP32 dims: [1] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [1] }]
instance_group [{ count: 1 kind: KIND_CPU }]
PBTXT
done
cat >>models/measured/config.pbtxt <<'PBTXT'
model_metrics {
  metric_control: [{
    metric_identifier: { family: "nv_inference_first_response_histogram_ms" }
    histogram_options: { buckets: [ 1, 2, 4, 8 ] }
  }]
}
PBTXT

cat >read.py <<'PYTHON'
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

text = open("models/measured/config.pbtxt").read()
(control,) = text_format.Parse(text, model_config_pb2.ModelConfig()).model_metrics.metric_control
print("tritonclient reads model_metrics:", list(control.histogram_options.buckets))
PYTHON
env/bin/python read.py

read -r http grpc metrics < <(env/bin/python -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(each.getsockname()[1] for each in sockets))')
ask() { curl --silent --output answer --write-out '%{http_code}' "$@"; }

start() {
  env PATH="$folder/env/bin:$PATH" "$wheel/bin/tritonserver" --model-repository="$folder/models" \
    --backend-directory="$folder/backends" --model-control-mode=explicit --load-model=plain \
    --http-address=127.0.0.1 --grpc-address=127.0.0.1 --metrics-address=127.0.0.1 \
    --http-port="$http" --grpc-port="$grpc" --metrics-port="$metrics" --exit-timeout-secs=1 "$@" >log 2>&1 &
  server=$!
  for _ in $(seq 300); do
    [ "$(ask "http://127.0.0.1:$http/v2/health/ready" || true)" = 200 ] && return
    kill -0 "$server" || { cat log; exit 1; }
    sleep 0.1
  done
  echo "not ready"; cat log; exit 1
}

start --metrics-config=histogram_latencies=true --metrics-config=there_is_no_such_key=true
ask "http://127.0.0.1:$http/v2" >/dev/null
echo "server: $(env/bin/python -c 'import json; print(json.load(open("answer"))["version"])') (nvidia-pytriton 0.7.0)"
echo "ready, with two keys that it does not know"
inference='{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [0.5]}]}'
json='Content-Type: application/json'
status=$(ask --header "$json" --data "$inference" "http://127.0.0.1:$http/v2/models/plain/infer")
echo "an inference: $status"
ask "http://127.0.0.1:$metrics/metrics" >/dev/null
grep --count '^nv_inference_request_success' answer | sed 's/^/series of nv_inference_request_success: /'
histogram=$(grep --count first_response_histogram answer || true)
echo "lines of the histogram: $histogram"
complaints=$(grep --count --extended-regexp 'histogram_latencies|there_is_no_such_key' log || true)
echo "lines of the log that name either key: $complaints"

loaded=$(ask --request POST "http://127.0.0.1:$http/v2/repository/models/measured/load")
echo "loading the model with model_metrics: $loaded, $(head --bytes 200 answer)"
reason=$(grep --only-matching --extended-regexp 'has no field named "model_metrics"' log | head --lines 1 || true)
echo "the log: $reason"

[ "$status" = 200 ] && [ "$histogram" = 0 ] && [ "$complaints" = 0 ] && [ "$loaded" = 500 ] && [ -n "$reason" ] ||
  { echo "CHANGED: the behaviour is another now"; exit 1; }
