"""`fashion-mnist`: 60,000 training and 10,000 test images of clothes, 28x28, one channel, ten classes.

Source: Zalando Research (MIT licence), as Debian's package `dataset-fashion-mnist` carries it. The package is fetched
with apt and unpacked into the cache, not installed; if it is already installed, its files are read in place.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from trainserve.api.pod import Variable
from trainserve.models.data import idx
from trainserve.models.data.cache import Cache
from trainserve.models.data.source import Source, in_memory
from trainserve.models.errors import DataError

PACKAGE = "dataset-fashion-mnist"
_ROOT = Path("/")
_INSTALLED = Path("usr/share/datasets/fashion-mnist")
FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""sha256 of the decompressed files: Zalando's and Debian's differ only in compression."""
_KEY = "fashion-mnist-" + hashlib.sha256("".join(FILES.values()).encode()).hexdigest()
LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def source(cache: Cache) -> Source:
    """The images (N, 28, 28, 1) uint8. Raises DataError if the files cannot be fetched or have another digest."""
    folder = files(cache)
    train, test = (
        in_memory(
            idx.read(folder / f"{part}-labels-idx1-ubyte").astype(np.int64),
            idx.read(folder / f"{part}-images-idx3-ubyte")[..., None],
        )
        for part in ("train", "t10k")
    )
    name = "fashion-mnist"
    return Source(name, name, (28, 28, 1), np.dtype(np.uint8), LABELS, "classification", train, test, _KEY)


def files(cache: Cache) -> Path:
    """The folder of the four FILES, decompressed. Raises DataError if they cannot be fetched or have another digest."""
    return cache.get(_KEY, lambda room: _stage(room, cache))


def _stage(room: Path, cache: Cache) -> None:
    if given := os.environ.get(Variable.FASHION_MNIST):
        found = Path(given)
    elif (_ROOT / _INSTALLED).is_dir():
        found = _ROOT / _INSTALLED
    else:
        cache.watch.say(f"fashion-mnist: fetching Debian's package {PACKAGE} (31 MB)")
        found = _package(room / "package") / _INSTALLED
    for name, digest in FILES.items():
        content = _content(found / name)
        if (sha256 := hashlib.sha256(content).hexdigest()) != digest:
            raise DataError(f"{found / name}: expected sha256:{digest}, found sha256:{sha256} (decompressed)")
        (room / name).write_bytes(content)
    shutil.rmtree(room / "package", ignore_errors=True)


def _content(path: Path) -> bytes:
    compressed = path.with_name(f"{path.name}.gz")
    try:
        return path.read_bytes() if path.exists() else gzip.decompress(compressed.read_bytes())
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"{compressed}: {reason}; {Variable.FASHION_MNIST} must name the folder with its four IDX files"
        ) from None


def _package(folder: Path) -> Path:
    """Fetch and unpack the package below `folder`. Uses its own package lists if the machine's are missing or old."""
    lists = folder / "lists"
    lists.mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}"]
    # Without this apt warns that its own user may not write here; it verifies the same either way.
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root"]
    try:
        if _run([*apt, "download", PACKAGE], folder):
            errors = _run([*apt, *own, "update"], folder) or _run([*apt, *own, "download", PACKAGE], folder)
            if errors:
                raise DataError(_unreachable(errors))
        packed = next(folder.glob("*.deb"))
        if errors := _run(["dpkg", "-x", packed.name, "tree"], folder):
            raise DataError(_unreachable(errors))
    except FileNotFoundError as error:
        raise DataError(_unreachable(f"{error.filename} is not installed")) from None
    return folder / "tree"


def _run(command: list[str], folder: Path) -> str:
    """Run `command` and return its error output; empty if it succeeded."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or f"{command[0]} ended with {done.returncode}"


def _unreachable(why: str) -> str:
    return (
        f"fashion-mnist: apt cannot fetch Debian's package {PACKAGE}: {why}; "
        f"alternatively set {Variable.FASHION_MNIST} to a folder with its four IDX files"
    )
