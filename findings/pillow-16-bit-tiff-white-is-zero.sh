#!/usr/bin/env bash
# Pillow turns a WhiteIsZero TIFF the right way round when it has 8 bits, and shows the negative when it has 16.
#
# PhotometricInterpretation 0 says that 0 is white (scanners and radiography write it). Of 8-bit files Pillow inverts
# the values while it opens them; of 16-bit files it hands them out as they lie there, without a word, so the same
# picture in two depths is a picture and its negative. Whoever reads 16 bits has to look at tag 262 himself.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

python3 -m venv env
env/bin/pip --quiet --quiet --disable-pip-version-check install pillow==12.3.0 numpy==2.4.6 tifffile==2026.3.3

cat >read.py <<'PYTHON'
import sys

import numpy as np
import PIL
import tifffile
from PIL import Image

print("Pillow", PIL.__version__, "tifffile", tifffile.__version__)
read = {}
for dtype in (np.uint8, np.uint16):
    white = np.iinfo(dtype).max
    # Black, then white.
    tifffile.imwrite("scan.tif", np.array([[white, 0]], dtype), photometric="miniswhite")
    with Image.open("scan.tif") as image:
        read[dtype] = (np.asarray(image)[0] > 0).tolist()
        values = np.asarray(image)[0].tolist()
        print(f"{np.dtype(dtype)}: mode {image.mode}, tag 262 is {image.tag_v2[262]}, read as {values}")
as_found = read == {np.uint8: [False, True], np.uint16: [True, False]}
sys.exit(0 if as_found else "CHANGED: both depths are read alike")
PYTHON
env/bin/python read.py
echo "As found: 8 bits are read as black and white, 16 bits as white and black."
