#!/usr/bin/env bash
# One ONNX file with a pool that rounds up (ceil_mode), below opset 22: three readers, three answers.
#
# The operator's text before opset 22 does not say whether a window counts that begins outside of the image. PyTorch
# leaves it out, and so does onnxruntime 1.32; onnx's shape inference (1.23, as of the opset) counts it, and so
# checker.check_model(full_check=True) refuses the file that torch.onnx.export wrote with the right size. onnxruntime
# 1.19 counts it as well, and at the edge divides an average by the whole window where PyTorch divides by what lies
# inside: other numbers, without a word. The same pool with explicit padding, rounded down, is read alike by all.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >make.py <<'PYTHON'
import onnx
from onnx import TensorProto, helper

FORMS = {
    "max-ceil": ("MaxPool", {"kernel_shape": [1], "strides": [2], "ceil_mode": 1}, 4, 2),
    "average-ceil": ("AveragePool", {"kernel_shape": [3], "strides": [2], "ceil_mode": 1, "count_include_pad": 1}, 6, 3),
    "max-padded": ("MaxPool", {"kernel_shape": [1], "strides": [2]}, 4, 2),
    "average-padded": ("AveragePool", {"kernel_shape": [3], "strides": [2], "pads": [0, 1]}, 6, 3),
}
print("onnx", onnx.__version__)
for name, (kind, attributes, given, answered) in FORMS.items():
    node = helper.make_node(kind, ["x"], ["y"], **attributes)
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, s]) for n, s in (("x", given), ("y", answered)))
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(helper.make_graph([node], name, [x], [y]), opset_imports=opset, ir_version=9)
    onnx.save(model, f"{name}.onnx")
    try:
        onnx.checker.check_model(model, full_check=True)
        print(f"{name:15} full check: ok")
    except onnx.shape_inference.InferenceError as error:
        print(f"{name:15} full check:", str(error).splitlines()[-1].split("] ")[-1])
PYTHON
cat >run.py <<'PYTHON'
import numpy as np
import onnxruntime

onnxruntime.set_default_logger_severity(4)
print("onnxruntime", onnxruntime.__version__)
for name, size in (("max-ceil", 4), ("average-ceil", 6), ("max-padded", 4), ("average-padded", 6)):
    session = onnxruntime.InferenceSession(f"{name}.onnx", providers=["CPUExecutionProvider"])
    given = np.arange(1, size + 1, dtype=np.float32).reshape(1, 1, size)
    print(f"{name:15}", [f"{value:.4g}" for value in session.run(None, {"x": given})[0].ravel()])
PYTHON

install() {
  python3 -m venv "$1"
  "$1/bin/pip" --quiet --quiet --disable-pip-version-check install "${@:2}"
}
install new onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6
install old onnxruntime==1.19.2 "numpy<2"
{ new/bin/python make.py; new/bin/python run.py; old/bin/python run.py; } 2>&1 | grep -v '\[W:onnxruntime' | tee told
cat <<'TEXT'
PyTorch 2.13:   MaxPool1d(1, 2, ceil_mode=True) of 1..4 is [1, 3]; AvgPool1d(3, 2, ceil_mode=True) of 1..6 is
                [2, 4, 5.5]
TEXT

cat >expected <<'TEXT'
onnx 1.23.2
max-ceil        full check: Inferred shape and existing shape differ in dimension 2: (3) vs (2)
average-ceil    full check: ok
max-padded      full check: ok
average-padded  full check: ok
onnxruntime 1.32.0
max-ceil        ['1', '3']
average-ceil    ['2', '4', '5.5']
max-padded      ['1', '3']
average-padded  ['2', '4', '5.5']
onnxruntime 1.19.2
max-ceil        ['1', '3', '-3.403e+38']
average-ceil    ['2', '4', '3.667']
max-padded      ['1', '3']
average-padded  ['2', '4', '5.5']
TEXT
diff expected told || { echo "CHANGED: onnx or onnxruntime"; exit 1; }
echo "As found: below opset 22 pools that round up are read differently; explicit padding is not."
