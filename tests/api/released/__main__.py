"""Save the schemas of a release: `python -m tests.api.released COMMIT`, once for each commit that users have received.

COMMIT.json holds the CustomResourceDefinitions of the chart at that commit, without descriptions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CRDS = "charts/trainserve/files/crds"
PLURALS = ("trainjobs", "modelserves")


def bare(node: Any) -> Any:
    """Return the schema without descriptions."""
    if isinstance(node, list):
        return [bare(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {key: bare(value) for key, value in node.items() if key != "description" or not isinstance(value, str)}


def main() -> None:
    """Write the file for the commit that the only argument names."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.api.released COMMIT")
    (commit,) = sys.argv[1:]
    definitions = [
        bare(yaml.safe_load(subprocess.check_output(["git", "show", f"{commit}:{CRDS}/{plural}.yaml"])))
        for plural in PLURALS
    ]
    path = Path(__file__).parent / f"{commit}.json"
    path.write_text(json.dumps(definitions, separators=(",", ":")) + "\n")
    print(path)


if __name__ == "__main__":
    main()
