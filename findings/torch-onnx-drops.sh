#!/usr/bin/env bash
# torch.onnx.export leaves out what two layers were asked for, without a word.
#
# AvgPool2d(divisor_override=3) becomes an AveragePool that divides by the window's size: other numbers from a valid
# file. LSTM(proj_size=4) becomes an LSTM whose hidden size is 4 and which has no projection: a file that onnx's checker
# accepts (not its full check) and onnxruntime cannot run. Torch 2.13, the default exporter (dynamo=True).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip --quiet --quiet --disable-pip-version-check install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 \
  onnxruntime==1.32.0 numpy==2.4.6 2>&1 | grep -v 'is ignored: it is neither' || true

cat >export.py <<'PYTHON'
import logging
import sys
import warnings

import onnx
import onnxruntime
import torch
from torch import nn

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
print("torch", torch.__version__.partition("+")[0], "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)


def answers(layer, given):
    """What onnxruntime answers, or its last words."""
    torch.onnx.export(layer.eval(), (given,), "layer.onnx", dynamo=True, opset_version=18, verbose=False)
    onnx.checker.check_model("layer.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession("layer.onnx", options, providers=["CPUExecutionProvider"])
    try:
        return session.run(None, {session.get_inputs()[0].name: given.numpy()})[0].ravel().tolist()
    except Exception as error:
        return str(error).partition("Status Message: ")[2].strip()


given = torch.full((1, 1, 2, 2), 3.0)
pool = nn.AvgPool2d(2, divisor_override=3)
pooled = answers(pool, given)
print("AvgPool2d(2, divisor_override=3) of four 3s: PyTorch", pool(given).ravel().tolist(), "ONNX", pooled)
told = answers(nn.LSTM(5, 8, proj_size=4, batch_first=True), torch.ones(1, 3, 5))
print("LSTM(5, 8, proj_size=4): checked without complaint; onnxruntime:", told)
as_found = pooled == [3.0] and "initial_c must have shape {1,1,4}. Actual:{1,1,8}" in str(told)
sys.exit(0 if as_found else "CHANGED")
PYTHON
env/bin/python export.py
echo "As found: divisor_override and proj_size are left out."
