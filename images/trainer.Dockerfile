# Training pods: python -m trainserve.models. The extra `serve` is for an operator of the release before, which runs what
# images/serving.Dockerfile is for (fetch, resolve, probe, tune) from this image.
#
#   docker build -f images/trainer.Dockerfile -t registry.example.org/team/trainserve-trainer:VERSION .   (VERSION: pyproject.toml has it)
#
# With what scripts ask for: data in s3://, Keras, torchvision, Fashion-MNIST. timm is not in it.
# PyPI's torch for Linux brings its CUDA libraries along, for onnxruntime-gpu too; the node needs NVIDIA's driver and
# container toolkit only.
# Not built by this project's own tests: the machine that runs them has no Docker engine.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY operator ./operator
COPY models ./models
COPY serving ./serving
COPY cli ./cli
COPY dev ./dev
RUN python -m venv /opt/trainserve \
 && /opt/trainserve/bin/pip install --no-cache-dir --constraint constraints.txt '.[train,gpu,serve,s3,keras,torchvision]'

FROM python:3.11.13-slim-bookworm
RUN apt-get update && apt-get install --no-install-recommends --yes dataset-fashion-mnist && rm -rf /var/lib/apt/lists/*
# The image's own Python comes without bytecode, and as another user each start would compile it anew: 0.4 s.
RUN python -m compileall -q /usr/local/lib/python3.11
COPY --from=build /opt/trainserve /opt/trainserve
# The driver's libraries and tools that NVIDIA's container toolkit puts in, where a node has GPUs.
ENV PATH=/opt/trainserve/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
CMD ["python", "-m", "trainserve.models", "/etc/trainserve/config.json"]
