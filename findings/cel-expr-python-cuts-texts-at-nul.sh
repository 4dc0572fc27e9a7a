#!/usr/bin/env bash
# Google's Python wrapper of cel-cpp (cel-expr-python 0.1.3) cuts a text that is given as a variable at its first NUL
# (U+0000), also within lists and maps; the same text as a literal of the expression keeps all of its characters. CEL's
# specification counts code points and excludes none, and an API server's Go evaluator keeps them. So an expression that
# tests an admission policy in Python sees another text than the API server does, and two keys of a map that differ
# only behind a NUL make the whole evaluation an error of a duplicate key.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet cel-expr-python==0.1.3
venv/bin/python - <<'PYTHON'
from importlib.metadata import version

from cel_expr_python import cel

env = cel.NewEnv(variables={"x": cel.Type.DYN, "s": cel.Type.STRING})


def value(expression, x=None):
    return env.compile(expression).eval(data={"x": x, "s": "a\0b"}).plain_value()


seen = {
    "size of the variable 'a\\0b'": value("size(s)"),
    "the same within a list": value("size(x[0])", ["a\0b"]),
    "the same within a map": value("size(x.k)", {"k": "a\0b"}),
    "the same as a literal": value(r"size('a\u0000b')"),
}
twins = str(value("size(x)", {"a\0b": 1, "a\0c": 2}))
print("cel-expr-python", version("cel-expr-python"))
for what, size in seen.items():
    print(f"{what}: {size}")
print("size of a map with the keys 'a\\0b' and 'a\\0c':", twins)
if list(seen.values()) != [1, 1, 1, 3] or "duplicate key" not in twins:
    raise SystemExit("CHANGED: expected 1, 1, 1, 3 and an error of a duplicate key")
PYTHON
