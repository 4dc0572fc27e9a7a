"""The user's own training script: run unchanged, monitored if possible, its model checked and published.

`model.script: "train.py"` runs the file as `__main__` in the training pod's own process, so that the model it leaves
can be taken from memory. Published is, in this order of preference: the model passed to `run.publish(...)` of `sdk`;
the `model.onnx` written to $TRAINSERVE_OUTPUT; the Keras model that was fitted and evaluated.
"""
