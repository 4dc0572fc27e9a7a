"""Writes scikit-learn's digits in every form a data set may come in, for the configs beside this file.

python examples/data/make.py                          # into examples/data/digits
python -m trainserve.models examples/data/images.json
"""

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from sklearn.datasets import load_digits


def main(folder: Path) -> None:
    """An image folder, the same as an archive, parquet, and an .npz whose targets are how much ink a digit took."""
    digits = load_digits()
    pictures = [Image.fromarray(np.uint8(image * (255 / 16))).resize((28, 28)) for image in digits.images]
    labels = [int(label) for label in digits.target]
    held_out = len(pictures) // 5

    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        path = folder / "images" / ("val" if number < held_out else "train") / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    with tarfile.open(folder / "images.tar.gz", "w:gz") as archive:
        archive.add(folder / "images", "images")

    images = pa.array([encoded(picture) for picture in pictures])
    pq.write_table(pa.table({"image": images, "label": labels}), folder / "digits.parquet")

    x = np.stack([np.asarray(picture) for picture in pictures])
    np.savez_compressed(folder / "ink.npz", x=x, y=digits.images.mean(axis=(1, 2)) / 16)


def encoded(picture: Image.Image) -> bytes:
    """As a PNG file's bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "digits")
