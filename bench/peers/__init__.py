"""Other servers of the same ONNX files: each is a separate program in its own virtual environment.

The environments are in ~/.cache/trainserve/bench-peers/<name>, with the versions pinned here, and are kept between
runs. A program is started as `<name>/bin/python <program> MODEL.onnx NAME PORT GRPC_PORT [option...]`, with one
onnxruntime thread unless the option `threads=N` is given.
"""
