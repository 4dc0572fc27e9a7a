#!/usr/bin/env bash
# The official Kubernetes client and S3 libraries cannot be installed together: kubernetes 37.0.2 asks for
# python-dateutil 3, botocore (1.43.117) for one below 3. The release before it, 37.0.1, asks for none of that and installs
# beside botocore; between the two stands a patch number. A requirement such as kubernetes>=37,<38 beside boto3, s3fs or
# aiobotocore therefore makes pip go back to 37.0.1 without a word, and a pin to 37.0.2 cannot be resolved.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
pip() { venv/bin/python -m pip --disable-pip-version-check "$@"; }

BOTOCORE=botocore==1.43.117
echo "$(pip --version | cut -d' ' -f1,2), $BOTOCORE"
if pip install --dry-run kubernetes==37.0.2 "$BOTOCORE" >refused 2>&1; then
  echo "CHANGED: kubernetes 37.0.2 and $BOTOCORE can be installed together"; exit 1
fi
grep -E "depends on python-dateutil" refused | sort -u
grep -q "ResolutionImpossible" refused || { echo "CHANGED: refused for another reason"; cat refused; exit 1; }
pip install --quiet --dry-run kubernetes==37.0.1 "$BOTOCORE"
echo "kubernetes 37.0.1 and $BOTOCORE can be installed together"
