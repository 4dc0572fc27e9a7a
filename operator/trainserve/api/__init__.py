"""The API group `trainserve.io/v1alpha1`: TrainJob and ModelServe as pydantic types.

The types are the single source: the CRDs' schemas, defaults, bounds and columns are generated from them
(`python -m trainserve.operator.crds`), and the operator parses every object with them.
"""

from importlib import metadata

GROUP = "trainserve.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


def release() -> str:
    """Return the version of trainserve that this process runs."""
    return metadata.version("trainserve")
