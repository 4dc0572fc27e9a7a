"""The user's own training script: run as it is, watched where that is possible, its model checked and published.

`model.script: "train.py"` runs the file as `__main__` in the training pod's own process, so that the model it leaves
can be taken from memory. What becomes a version, in this order of preference: what it handed to `sdk`'s
`run.publish(...)`; the `model.onnx` it wrote into $TRAINSERVE_OUTPUT; the Keras model it fitted and evaluated.
"""
