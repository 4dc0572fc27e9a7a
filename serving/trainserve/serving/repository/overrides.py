"""The escape hatch of the settings: fields of Triton's ModelConfig given by hand, merged last.

What protobuf does not know is refused by its name; whether the server takes the whole is the server's to say
(`config_check`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format  # type: ignore[import-untyped]

from trainserve.serving.repository.settings import InvalidSettings


def merge(config: Any, overrides: Mapping[str, Any]) -> None:
    """Write `overrides` (protobuf's JSON form, names as in the .proto or in camelCase) over a ModelConfig.

    Messages and maps are merged, lists replaced, null clears a field. Raises InvalidSettings.
    """
    given = dict(overrides)
    if "name" in given:
        raise InvalidSettings("settings.overrides.name: cannot be set; a model's name is given where it is served")
    for field in config.DESCRIPTOR.fields:
        for name in (field.name, field.json_name):
            if (
                field.message_type
                and field.message_type.GetOptions().map_entry
                and isinstance(given.get(name), Mapping)
            ):
                # Otherwise one parameter given by hand would drop those of the other settings.
                given[name] = json_format.MessageToDict(config).get(field.json_name, {}) | dict(given[name])
    try:
        json_format.ParseDict(given, config)
    except json_format.ParseError as error:
        first, *_ = str(error).splitlines()
        raise InvalidSettings(f"settings.overrides: {first}") from None
