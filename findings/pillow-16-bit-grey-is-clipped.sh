#!/usr/bin/env bash
# Pillow makes an 8-bit picture of a 16-bit grey one by cutting, not by scaling: everything from 255 on is white.
#
# A 16-bit grey PNG or TIFF (scans, microscopes, X-rays) opens as mode I;16 with its values intact. convert("L") and
# convert("RGB"), which torchvision's ImageFolder and nearly every loader call, keep what is below 256 and make 255 of
# the rest, without a warning. A 16-bit RGB PNG, in contrast, is scaled (opened as RGB by its high bytes). Whoever wants
# the picture divides by 257 before.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip --quiet --quiet --disable-pip-version-check install pillow==12.3.0 numpy==2.4.6

cat >read.py <<'PYTHON'
import sys

import numpy as np
import PIL
from PIL import Image

print("Pillow", PIL.__version__)
values = np.array([[0, 200, 255, 256, 4000, 32768, 65535]], np.uint16)
Image.fromarray(values).save("deep.png")
deep = Image.open("deep.png")
grey, colour = np.asarray(deep.convert("L"))[0], np.asarray(deep.convert("RGB"))[0, :, 0]
print("in the file:      ", values[0].tolist(), deep.mode)
print('convert("L"):     ', grey.tolist())
print('convert("RGB"):   ', colour.tolist())
print("scaled:           ", np.rint(values[0] / 257).astype(int).tolist())
clipped = np.minimum(values[0], 255)
sys.exit(0 if np.array_equal(grey, clipped) and np.array_equal(colour, clipped) else "CHANGED: it is not clipped")
PYTHON
env/bin/python read.py
echo "As found: 16-bit grey is clipped to white by convert()."
