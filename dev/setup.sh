#!/usr/bin/env bash
# Brings a fresh checkout to where every make target works: the virtual environment, then the programs of the
# development cluster. What is there already is left alone, so a second run takes a fraction of a second; a run that
# was killed is finished by the next one.
#
#   dev/setup.sh            all of it
#   dev/setup.sh python     the virtual environment only (what `make check` needs)
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/.trainserve-installed
want=$(cat pyproject.toml constraints.txt dev/setup.sh | sha256sum)

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

install_python() {
  local candidate python=
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$candidate; break; fi
  done
  [ -n "$python" ] || { echo "setup: no Python found; TrainServe needs Python 3.11 or newer" >&2; exit 1; }
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    say "installing python3-venv (Debian keeps it apart from python3)"
    apt-get update -qq || true # one unreachable archive must not stop an install that the others can serve
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
  fi
  # Triton's python backend links Python's library, which Debian keeps apart from python3, too.
  if ! "$python" - <<'CHECK' 2>/dev/null
import ctypes, os, sys, sysconfig
name = "libpython%d.%d.so.1.0" % sys.version_info[:2]
path = os.path.join(sysconfig.get_config_var("LIBDIR") or "", name)
ctypes.CDLL(path if os.path.exists(path) else name)
CHECK
  then
    say "installing Python's library"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
      "$("$python" -c 'import sys; print("libpython%d.%d" % sys.version_info[:2])')" >/dev/null || true # prepare says so
  fi
  # The development server's onnxruntime backend is compiled (trainserve.serving.devserver.runtime).
  if ! command -v g++ >/dev/null; then
    say "installing g++"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq g++ >/dev/null || true # prepare says so
  fi
  # Tests of the operator on a node whose clock is wrong.
  if ! compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null; then
    say "installing libfaketime"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libfaketime >/dev/null || true # those tests are skipped
  fi
  say "creating .venv with $("$python" --version)"
  [ -x .venv/bin/pip ] || "$python" -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 2>&1 | grep -v 'is ignored: it is neither' || true
  # torch by pip and first: on machines without a GPU that serve a CPU build under this version, the project's own
  # range is then satisfied by it and the GPU build with its gigabytes of CUDA is never drawn in.
  if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    if command -v nvidia-smi >/dev/null; then torch='torch>=2.11,<3'; else torch='torch==2.13.0'; fi
    say "installing $torch (the largest package)"
    if [ -t 1 ]; then # pip and uv draw their progress bars themselves
      .venv/bin/pip install --disable-pip-version-check "$torch"
    else
      .venv/bin/pip install --disable-pip-version-check "$torch" 2>&1 | grep -v 'is ignored: it is neither' | tail -n 2
    fi
  fi
  say "installing the project and its tools"
  local quiet=--quiet
  [ -t 1 ] && quiet=
  .venv/bin/uv pip install $quiet --python .venv/bin/python --constraints constraints.txt --editable '.[dev]'
  # torchvision's release follows torch's: 0.28 is for 2.13. Without what they ask for: a CPU build of torch must stay, and
  # the .pth is what torchvision then needs (models/torchvision.py).
  local torchvision
  torchvision=$(.venv/bin/python -c 'import torch; print(int(torch.__version__.split(".")[1]) + 15)')
  .venv/bin/uv pip install $quiet --python .venv/bin/python --no-deps "torchvision==0.$torchvision.*" timm==1.0.31
  cp dev/torchvision.pth "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/trainserve_torchvision.pth"
  # Kopf runs on uvloop wherever that is installed, and there an API server that goes away can end its watches for good
  # (github.com/MagicStack/uvloop/issues/738); the operator's image has none either.
  .venv/bin/uv pip uninstall --quiet --python .venv/bin/python uvloop
  # As pip does and uv does not: what a pod of the development cluster writes beside a module is lost with the pod, so
  # every one would compile anew all that it imports (half of an export's imports, docs/importtime.md). Not all of it
  # is for this Python (torch carries tests for 3.12).
  say "compiling the packages"
  .venv/bin/python -m compileall -q -j 0 .venv/lib >/dev/null || true
  printf '%s' "$want" > "$stamp"
}

# One setup at a time: two make targets started side by side wait for each other here.
exec 9>.setup.lock
flock 9
[ "$(cat "$stamp" 2>/dev/null)" = "$want" ] || install_python
# Our own modules too, whose compiled form is older than they are after a change.
.venv/bin/python -m compileall -q operator models serving cli dev || true # a syntax error is for who imports it to tell
[ "${1:-all}" = python ] || .venv/bin/python -m trainserve.dev prepare
