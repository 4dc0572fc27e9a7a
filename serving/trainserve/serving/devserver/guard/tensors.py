"""Checks of an inference request's tensors before the server sees them: shape, data type and data must agree.

Pure. A refusal names the tensor (https://github.com/kserve/open-inference-protocol, and Triton's
docs/protocol/extension_binary_data.md). The server itself checks what depends on the model (names, shapes and types),
and answers with a 400.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import Any

from trainserve.serving.devserver.guard.messages import Refused

SIZES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "FP32": 4,
    "FP64": 8,
    "BF16": 2,
    "BYTES": None,
}
"""Bytes of an element; each BYTES element is preceded by its length."""
LARGEST = 2**31 - 1
"""Maximum length of an axis, and number of a tensor's elements: more than any body can hold."""
AXES = 32
"""Maximum number of a tensor's axes."""
LEVELS = 64
"""Maximum nesting of arrays and objects: a tensor of `AXES` axes needs less."""
_JSON_KINDS: dict[str, tuple[set[type], str]] = {"BOOL": ({bool}, "true or false"), "BYTES": ({str}, "strings")}
_WHOLE: tuple[set[type], str] = ({int}, "whole numbers")
_NUMBERS: tuple[set[type], str] = ({int, float}, "numbers")
_CACHED_BYTES = 4096


def parse(text: bytes | bytearray) -> Any:
    """Parse a JSON body of at most `LEVELS` levels. Raises Refused.

    Text that is not UTF-8 and repeated members are refused too: two parsers may read them differently.
    """
    try:
        value = json.loads(text.decode(), object_pairs_hook=_members)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise _bad(f"the body is not JSON: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _bad(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:  # a number of thousands of digits, a repeated member
        raise _bad(f"the body is not JSON: {error}") from None
    # Most bodies have fewer brackets in all; the levels are counted only for the others.
    if text.count(b"[") + text.count(b"{") > LEVELS and _levels(value) > LEVELS:
        raise _too_deep()
    return value


def check_json(body: bytes | bytearray) -> None:
    """Check a request in the JSON form. Raises Refused."""
    _check(parse(body), 0)


def check_binary(body: bytes | bytearray, header: int) -> None:
    """Check a request in the binary form: `header` bytes of JSON, then the tensors' bytes. Raises Refused."""
    check = _check_header if header <= _CACHED_BYTES else _check_header.__wrapped__
    for name, start, stop, count in check(bytes(body[:header]), len(body) - header):
        _check_strings(name, memoryview(body)[header + start : header + stop], count)


@lru_cache(1024)
def _check_header(header: bytes, size: int) -> list[tuple[str, int, int, int]]:
    """Locate the BYTES tensors in the binary part. Cached, because a client's requests differ only in that part."""
    return _check(parse(header), size)


def _check(request: Any, size: int) -> list[tuple[str, int, int, int]]:
    """Check a request; returns name, start, stop and count of the BYTES tensors in a binary part of `size` bytes."""
    if not isinstance(request, dict):
        raise _bad(f"the request is {_kind(request)}; must be an object with the member 'inputs'")
    _text(request.get("id", ""), "id")
    _parameters(request, "the request")
    for output in _objects(request, "outputs", required=False):
        _text(output.get("name"), "the name of an output")
        where = f"output {output['name']!r}"
        parameters = _parameters(output, where)
        _no_shared_memory(parameters, where)
        _whole(parameters.get("classification", 0), f"{where}: classification", LARGEST)
    strings = []
    start = 0
    for tensor in _objects(request, "inputs", required=True):
        _text(tensor.get("name"), "the name of an input")
        where = f"input {tensor['name']!r}"
        parameters = _parameters(tensor, where)
        _no_shared_memory(parameters, where)
        dtype = tensor.get("datatype")
        if not isinstance(dtype, str) or dtype not in SIZES:
            raise _bad(f"{where}: datatype {_shown(dtype)} is not one of {', '.join(SIZES)}")
        shape = _shape(tensor.get("shape"), where)
        count = math.prod(shape)
        if ("data" in tensor) == ("binary_data_size" in parameters):
            raise _bad(f"{where}: must have either 'data' or the parameter 'binary_data_size'")
        if "data" in tensor:
            _check_data(tensor["data"], dtype, shape, count, where)
            continue
        given = _whole(parameters["binary_data_size"], f"{where}: binary_data_size", 2**63 - 1)
        itemsize = SIZES[dtype]
        if itemsize is None:
            strings.append((where, start, start + given, count))
        elif given != count * itemsize:
            raise _bad(f"{where}: shape {shape} of {dtype} is {count * itemsize} bytes; binary_data_size is {given}")
        start += given
        if start > size:
            raise _bad(f"{where}: its data ends at byte {start} of the binary part, which has {size}")
    if start != size:
        raise _bad(f"{size - start} bytes of the binary part belong to no input")
    return strings


def _shape(shape: Any, where: str) -> list[int]:
    if not isinstance(shape, list):
        raise _bad(f"{where}: shape is {_kind(shape)}; must be an array of whole numbers")
    if len(shape) > AXES:
        raise _bad(f"{where}: shape has {len(shape)} axes; at most {AXES} are allowed")
    for size in shape:
        _whole(size, f"{where}: shape {_shown(shape)}: an axis", LARGEST)
    if math.prod(filter(None, shape)) > LARGEST:  # an axis of 0 does not allow any length of the others
        raise _bad(f"{where}: shape {_shown(shape)} has more than {LARGEST} elements")
    return list(shape)


def _check_data(data: Any, dtype: str, shape: list[int], count: int, where: str) -> None:
    values = _flat(data, where)
    if len(values) != count:
        raise _bad(f"{where}: shape {_shown(shape)} is {count} elements; data has {len(values)}")
    allowed, words = _JSON_KINDS.get(dtype, _WHOLE if "INT" in dtype else _NUMBERS)
    if not set(map(type, values)) <= allowed:
        odd = next(value for value in values if type(value) not in allowed)
        raise _bad(f"{where}: {dtype} data must be {words}; has {_shown(odd)}")
    if allowed is _WHOLE[0] and values:
        bits = 8 * (SIZES[dtype] or 0)
        low, high = (0, 2**bits - 1) if dtype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        for value in (min(values), max(values)):
            if not low <= value <= high:  # the server would answer for a wrapped number
                raise _bad(f"{where}: {dtype} data must be between {low} and {high}; has {_shown(value)}")


def _flat(data: Any, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise _bad(f"{where}: data is {_kind(data)}; must be an array")
    values: list[Any] = data
    while list in (kinds := set(map(type, values))):
        if kinds != {list}:
            raise _bad(f"{where}: data mixes arrays and values at one level")
        values = list(chain.from_iterable(values))
    return values


def _check_strings(where: str, data: memoryview, count: int) -> None:
    """Check BYTES data: each element is its length in four bytes, least significant first, and that many bytes."""
    position = 0
    for _ in range(count):
        if len(data) - position < 4:
            raise _bad(f"{where}: its {len(data)} bytes hold fewer than {count} elements")
        position += 4 + int.from_bytes(data[position : position + 4], "little")
        if position > len(data):
            raise _bad(f"{where}: an element is said to end at byte {position} of {len(data)}")
    if position != len(data):
        raise _bad(f"{where}: {len(data) - position} bytes after its {count} elements")


def _levels(value: Any) -> int:
    """Return the nesting depth of arrays and objects in a JSON value."""
    found, level = 0, [value]
    while level := [each for each in level if isinstance(each, (list, dict))]:
        found += 1
        level = list(chain.from_iterable(each.values() if isinstance(each, dict) else each for each in level))
    return found


def _too_deep() -> Refused:
    return _bad(f"the body is nested too deep to be a request; at most {LEVELS} levels are allowed")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has two members of one name")
    return members


def _objects(request: dict[str, Any], member: str, *, required: bool) -> list[dict[str, Any]]:
    found = request.get(member) if required else request.get(member, [])
    if not isinstance(found, list):
        raise _bad(f"{member!r} is {_kind(found)}; must be an array of objects")
    for each in found:
        if not isinstance(each, dict):
            raise _bad(f"{member!r} holds {_kind(each)}; must be an array of objects")
    return found


def _parameters(of: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = of.get("parameters", {})
    if not isinstance(parameters, dict):
        raise _bad(f"{where}: parameters is {_kind(parameters)}; must be an object")
    return parameters


def _no_shared_memory(parameters: dict[str, Any], where: str) -> None:
    if "shared_memory_region" in parameters:
        raise _bad(f"{where}: shared memory is not open to clients here; send the data")


def _text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise _bad(f"{what} is {_kind(value)}; must be a string")


def _whole(value: Any, what: str, largest: int) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise _bad(f"{what} is {_shown(value)}; must be a whole number from 0 to {largest}")
    return value


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null or missing"}
    return kinds.get(type(value), "a number")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # a number of thousands of digits
        text = "a number"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _bad(reason: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, reason)
