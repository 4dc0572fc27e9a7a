"""The model store: publish, resolve, fetch and verify versions. Imports neither torch nor onnx."""
