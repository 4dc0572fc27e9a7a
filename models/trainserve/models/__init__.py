"""What runs in a training pod: data, zoo, training loop, export, checks, publish.

`python -m trainserve.models CONFIG.json` is one whole run; docs/contracts.md has the file's form, the environment,
the termination message and the exit codes.
"""
