"""Other servers of the same ONNX files: each a program of its own in a virtual environment of its own.

The environments live in ~/.cache/trainserve/bench-peers/<name>, with the versions pinned here, and are kept between
runs. A program is started as `<name>/bin/python <program> MODEL.onnx NAME PORT GRPC_PORT [option...]`, all models
served with one onnxruntime thread unless the option `threads=N` says otherwise.
"""
