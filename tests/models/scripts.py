"""Scripts that the tests run."""

# Two classes: is the sum of the inputs positive? The weights are set accordingly, nothing is trained.
MODEL = """
    import torch
    from torch import nn
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 12))
        model[1].bias.zero_()
    images = torch.randn(300, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    labels = (images.sum((1, 2, 3)) > 0).long()
"""
PUBLISH = (
    MODEL
    + """
    from trainserve.models import sdk
    run = sdk.start(epochs=2)
    run.epoch(1, loss=0.5, accuracy=0.9, samples=300)
    run.epoch(2, loss=torch.tensor(0.25), accuracy=0.95, samples=300)
    run.publish(model, images, labels)
"""
)
# The same model as the script's own file, without waiting for torch's exporter.
EXPORT = """
    import os, onnx
    from onnx import TensorProto, helper, numpy_helper
    linear = {name: numpy_helper.from_array(tensor.detach().numpy(), name) for name, tensor in model.named_parameters()}
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["pixels"], ["flat"]),
         helper.make_node("Gemm", ["flat", "1.weight", "1.bias"], ["scores"], transB=1)],
        "sum",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 1, 3, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2])],
        [*linear.values()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(made, os.environ["TRAINSERVE_OUTPUT"] + "/model.onnx")
"""
SAMPLES = """
    import numpy as np
    with torch.no_grad(): scores = model(images).numpy()
    np.savez(os.environ["TRAINSERVE_OUTPUT"] + "/samples.npz", pixels=images.numpy(), scores=scores, labels=labels)
"""
