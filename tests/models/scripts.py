"""Scripts that the tests run."""

# Two classes: is the sum of the inputs positive? The weights that say so are set, nothing is trained.
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
EXPORT = """
    import os
    torch.onnx.export(model.eval(), (images[:2],), os.environ["TRAINSERVE_OUTPUT"] + "/model.onnx", dynamo=True,
                      external_data=False, input_names=["pixels"], output_names=["scores"],
                      dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False)
"""
SAMPLES = """
    import numpy as np
    with torch.no_grad(): scores = model(images).numpy()
    np.savez(os.environ["TRAINSERVE_OUTPUT"] + "/samples.npz", pixels=images.numpy(), scores=scores, labels=labels)
"""
