"""The training pod: data, model zoo, training loop, export, checks, publishing.

`python -m trainserve.models CONFIG.json` is one whole run; docs/contracts.md describes the file, the environment, the
termination message and the exit codes.
"""
