"""The two CustomResourceDefinitions. `python -m trainserve.operator.crds DIR` writes them for the chart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from trainserve.api import GROUP, VERSION, modelserve, trainjob
from trainserve.api.modelserve import ModelServeSpec
from trainserve.api.modelserve_status import ModelServeStatus
from trainserve.api.scalars.names import OBJECT_NAME_PATTERN
from trainserve.api.trainjob import TrainJobSpec
from trainserve.api.trainjob_status import TrainJobStatus
from trainserve.operator.schema import structural_schema

Manifest = dict[str, Any]


def trainjob_crd() -> Manifest:
    """Return the CustomResourceDefinition of TrainJob."""
    columns = [
        _column("PHASE", "string", ".status.phase"),
        _column("EPOCH", "string", ".status.columns.epoch"),
        _column("ACCURACY", "string", ".status.columns.accuracy"),
        _column("IMG/S", "string", ".status.columns.imagesPerSecond"),
        _column("VERSION", "integer", ".status.artifact.version"),
        _column("AGE", "date", ".metadata.creationTimestamp"),
    ]
    schema = _object_schema(trainjob.__doc__, TrainJobSpec, TrainJobStatus, trainjob.NAME_LIMIT)
    schema["x-kubernetes-validations"] = [{"rule": _unchanged_once_started(), "message": trainjob.IMMUTABLE}]
    return _crd("TrainJob", "tsj", schema, columns)


def modelserve_crd() -> Manifest:
    """Return the CustomResourceDefinition of ModelServe."""
    columns = [
        _column("READY", "string", '.status.conditions[?(@.type=="Ready")].status'),
        _column("VERSION", "integer", ".status.version"),
        _column("REPLICAS", "string", ".status.columns.replicas"),
        _column("P99", "string", ".status.columns.p99"),
        _column("URL", "string", ".status.url"),
        _column("AGE", "date", ".metadata.creationTimestamp"),
    ]
    schema = _object_schema(modelserve.__doc__, ModelServeSpec, ModelServeStatus, modelserve.NAME_LIMIT)
    return _crd("ModelServe", "tsm", schema, columns)


def write(directory: Path) -> list[Path]:
    """Write both definitions into `directory` and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for crd in (trainjob_crd(), modelserve_crd()):
        path = directory / f"{crd['spec']['names']['plural']}.yaml"
        path.write_text(as_yaml(crd), encoding="utf-8")
        paths.append(path)
    return paths


def as_yaml(crd: Manifest) -> str:
    """Return the text of the file in the chart."""
    head = "# Generated from trainserve.api by `make crds`: change the types, not this file.\n"
    return head + yaml.dump(crd, Dumper=_PlainDumper, sort_keys=False, width=120)


class _PlainDumper(yaml.SafeDumper):
    """YAML dumper that writes equal objects out in full: anchors are legal but hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _column(name: str, type_: str, json_path: str) -> Manifest:
    return {"name": name, "type": type_, "jsonPath": json_path}


def _object_schema(doc: str | None, spec: type[BaseModel], status: type[BaseModel], name_limit: int) -> Manifest:
    name = {"type": "string", "maxLength": name_limit, "pattern": OBJECT_NAME_PATTERN}
    return {
        "type": "object",
        "description": doc,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": structural_schema(spec),
            "status": structural_schema(status, mode="serialization"),
        },
    }


def _unchanged_once_started() -> str:
    """Return the CEL rule that nothing in the spec but its policy changes once the first attempt has started.

    The operator enforces the same rule itself, for servers without CEL.
    """
    fixed = [to_camel(field) for field in TrainJobSpec.model_fields if field != "policy"]
    same = [
        f"has(self.spec.{field}) == has(oldSelf.spec.{field})"
        f" && (!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field})"
        for field in fixed
    ]
    started = "has(oldSelf.status) && has(oldSelf.status.attempts) && oldSelf.status.attempts.size() > 0"
    return f"!({started}) || ({' && '.join(same)})"


def _crd(kind: str, short_name: str, schema: Manifest, columns: list[Manifest]) -> Manifest:
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["trainserve"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def main() -> None:
    """Write the definitions into the folder given as the only argument, which must exist."""
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python -m trainserve.operator.crds DIRECTORY, which must exist")
    for path in write(Path(sys.argv[1])):
        print(path)


if __name__ == "__main__":
    main()
