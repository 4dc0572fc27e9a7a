# The operator: Kopf and the official Kubernetes client, no torch.
#
#   docker build -f images/operator.Dockerfile -t registry.example.org/team/trainserve-operator:VERSION .   (VERSION: pyproject.toml has it)
#
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
 && /opt/trainserve/bin/pip install --no-cache-dir --constraint constraints.txt '.[operator]'

FROM python:3.11.13-slim-bookworm
# The image's own Python comes without bytecode, and as another user each start would compile it anew: 0.4 s.
RUN python -m compileall -q /usr/local/lib/python3.11
COPY --from=build /opt/trainserve /opt/trainserve
ENV PATH=/opt/trainserve/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
CMD ["python", "-m", "kopf", "run", "-m", "trainserve.operator.main", "--all-namespaces", "--liveness=http://0.0.0.0:8080/healthz"]
