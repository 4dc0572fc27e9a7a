"""The open inference protocol and Triton's own extensions, over HTTP and gRPC."""
