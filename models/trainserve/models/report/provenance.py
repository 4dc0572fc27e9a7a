"""The origin of a data set, for the report."""

from __future__ import annotations

from trainserve.models.config import Dataset as Config
from trainserve.models.data.dataset import Dataset

_BUILT_IN = {
    "digits": "built in: scikit-learn's copy of the UCI digits, 8x8, enlarged to 28x28",
    "fashion-mnist": "built in: Fashion-MNIST as Debian packages it; its files are checked by digests in the code",
    "synthetic": "built in: generated from dataset.options and the seed",
}


def provenance(config: Config, dataset: Dataset) -> dict[str, str]:
    """Facts by name; the digest is of the file or folder if it was fetched or verified, else the reason for none."""
    found = {"data set": str(dataset)} | asked(config)
    if config.name is not None:
        return found
    return found | {"digest": dataset.digest or "none: dataset.digest was not set, so nothing was checked"}


def asked(config: Config) -> dict[str, str]:
    """The source and path in the configuration."""
    named = {"source": _BUILT_IN.get(config.name, config.name) if config.name else config.uri, "path": config.path}
    return {name: value for name, value in named.items() if value is not None}
