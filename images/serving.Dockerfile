# What runs beside Triton in serving pods, and alone where a model is looked for: python -m trainserve.serving fetch,
# resolve, probe and tune. No torch, no onnxruntime: Triton itself, in NVIDIA's own image, runs the models.
#
#   docker build -f images/serving.Dockerfile -t registry.example.org/team/trainserve-serving:VERSION .   (VERSION: pyproject.toml has it)
#
# Not built by this project's own tests: the machine that runs them has no Docker engine. What it installs is measured,
# and its commands are run with nothing else installed, by tests/serving/pod/test_serving_image.py.
FROM python:3.11.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY operator ./operator
COPY models ./models
COPY serving ./serving
COPY cli ./cli
COPY dev ./dev
RUN python -m venv --without-pip /opt/trainserve \
 && pip --python /opt/trainserve/bin/python install --no-cache-dir --constraint constraints.txt '.[serve-pods,s3]'

FROM python:3.11.13-slim-bookworm
# The image's own Python comes without bytecode, and as another user each start would compile it anew: 0.4 s.
RUN python -m compileall -q /usr/local/lib/python3.11
COPY --from=build /opt/trainserve /opt/trainserve
ENV PATH=/opt/trainserve/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
CMD ["python", "-m", "trainserve.serving", "--help"]
