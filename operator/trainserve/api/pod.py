"""The contract between the operator and the processes in its pods: ports, paths, variables, exit codes, flags.

Each fact is a member with a `sentence` for people; the tables of docs/contracts.md list them. This module uses only the
standard library: a training pod imports it before pydantic, so that it answers its first poll at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import Self

from trainserve.api.triton_releases import HISTOGRAM_FLAG

TRITON_EXIT_SECONDS = 3
"""Seconds that Triton gives running requests when it is told to stop. One idle keep-alive connection uses all of them
up, and so does every restart: a backend that dies is to be back within 15 s, its detection (two probes) included."""
RESPONSE_CACHE_BYTES = 64 * 2**20
"""Size of Triton's response cache, in bytes, where a model uses it."""
LIVENESS_TIMEOUT_SECONDS = 5
"""Seconds that a kubelet waits for the probe's answer to /livez; the probe answers within them."""

SERVING_MODE = ("--model-control-mode=none", "--exit-on-error=true", "--strict-readiness=true")
"""Flags of a Triton that loads all models at its start and ends if it cannot."""
CONTROLLED_MODE = ("--model-control-mode=explicit", "--exit-on-error=false", "--strict-readiness=false")
"""Flags of a Triton whose models another process loads: the tuner, or the supervisor of the development server."""
COMPLETE_CONFIGURATION = "--disable-auto-complete-config"
"""Flag of a Triton whose config.pbtxt files are complete, so that no backend is asked for the rest."""


class _Number(IntEnum):
    sentence: str

    def __new__(cls, number: int, sentence: str) -> Self:
        """Make a member that is the number itself."""
        member = int.__new__(cls, number)
        member._value_, member.sentence = number, sentence
        return member


class _Text(StrEnum):
    sentence: str

    def __new__(cls, text: str, sentence: str) -> Self:
        """Make a member that is the text itself."""
        member = str.__new__(cls, text)
        member._value_, member.sentence = text, sentence
        return member


class Port(_Number):
    """TCP ports of the pods."""

    HTTP = 8000, "Triton's HTTP endpoint, which users call."
    GRPC = 8001, "Triton's gRPC endpoint, which users call."
    METRICS = 8002, "Triton's Prometheus metrics."
    PROGRESS = 9400, "Progress and Prometheus metrics of a training pod of rank 0."
    PROBE = 9401, "Endpoints and Prometheus metrics of a serving pod's probe."


class Endpoint(_Text):
    """Paths of HTTP endpoints that the operator, the kubelet, Prometheus or `trainserve top` asks for."""

    READY = "/v2/health/ready", "Port 8000: 200 while Triton has loaded its models and takes requests."
    METRICS = "/metrics", "Ports 8002, 9400 and 9401: metrics in Prometheus' text format."
    PROGRESS = "/progress", "Port 9400: the TrainJob's status field `progress`, as JSON."
    HEALTH = "/healthz", "Port 9400: 200 as long as the run's process answers."
    STARTED = "/startz", "Port 9401: 200 once Triton is ready for the first time."
    VERIFIED = "/readyz", "Port 9401: 200 while the server answers the recorded samples correctly."
    ALIVE = "/livez", "Port 9401: 200 while real inferences are answered in time."
    REPORT = "/report", "Port 9401: what the probe has found, as JSON."


class PodPath(_Text):
    """Absolute paths in the containers of pods."""

    CONFIG_FOLDER = "/etc/trainserve", "A training pod's configuration, from the attempt's ConfigMap."
    CONFIG = "/etc/trainserve/config.json", "The configuration that a training pod reads."
    MOUNTS = (
        "/var/lib/trainserve",
        "Parent of `data`, `pretrained` and `script`, where a training pod finds its pvc:// and configmap:// sources.",
    )
    STORE = "/var/lib/trainserve/store", "The model store, or another claim that a model is fetched from."
    SAMPLES = "/var/lib/trainserve/samples", "The claim that holds the samples of a model without a manifest."
    OUTPUT = "/var/lib/trainserve/output", "What a training script writes to be published."
    CACHE = "/var/lib/trainserve/cache", "Fetched data sets and weights of a training pod."
    WORK = "/var/lib/trainserve/work", "Working folder of a training pod."
    SHARED = "/var/run/trainserve", "What the containers of a serving pod share; SharedFile names its entries."
    NODE_CACHE = "/var/cache/trainserve", "The node's cache of fetched models, in serving pods."
    SECRETS = "/var/run/secrets", "Parent of all mounted Secrets: their values are masked in messages."
    CREDENTIALS = "/var/run/secrets/trainserve", "Files of the Secret with the store's credentials."
    TERMINATION_LOG = "/dev/termination-log", "The file whose content Kubernetes takes as the termination message."
    SHARED_MEMORY = "/dev/shm", "Shared memory of NCCL, DataLoader's workers and Triton."  # noqa: S108
    TEMPORARY = "/tmp", "Temporary files of a pod: the only writable folder of most containers."  # noqa: S108


class SharedFile(_Text):
    """Names of files and folders in PodPath.SHARED: the init container writes them, the probe reads them."""

    VERSION = "version", "Folder of the fetched version or graph."
    REPOSITORY = "repository", "Triton's model repository."
    BATCHING = "batching.json", "How the model is batched, and how it is served without."
    GIVEN = "given.npz", "Samples that the user gave for a model without a manifest."
    DEAD = (
        "dead",
        "Exists while the probe finds that Triton is not alive: its container is ended without draining.",
    )


class Variable(_Text):
    """Environment variables of the containers."""

    POD_IP = "POD_IP", "The pod's own address, where its servers listen."
    POD_UID = "POD_UID", "The pod's uid, which opens endpoints of Triton that are closed to clients."
    CONFIG = "TRAINSERVE_CONFIG", "Path of a training pod's configuration."
    CACHE = "TRAINSERVE_CACHE", "Folder for fetched data sets and weights; default ~/.cache/trainserve/data."
    WORK = "TRAINSERVE_WORK", "Working folder of a training pod."
    OUTPUT = "TRAINSERVE_OUTPUT", "Folder in which a training script leaves what is published."
    PROGRESS_PORT = "TRAINSERVE_PROGRESS_PORT", "Port of progress and metrics; default 9400."
    LIMITS = "TRAINSERVE_LIMITS", "Upper bounds of what is read from files of others, as JSON."
    TERMINATION_LOG = "TRAINSERVE_TERMINATION_LOG", "File of the termination message, instead of the kubelet's."
    FASHION_MNIST = "TRAINSERVE_FASHION_MNIST", "Folder of the data set fashion-mnist, instead of a download."
    DEVELOPMENT_SERVER = (
        "TRAINSERVE_DEVELOPMENT_SERVER",
        "Set by the development cluster: its nodes run the development server, whatever image of Triton a pod names.",
    )
    SIMULATED_GPUS = (
        "TRAINSERVE_SIMULATED_GPUS",
        "Set by the development cluster: its GPUs are simulated, so that models are loaded on the CPU.",
    )

    @property
    def reference(self) -> str:
        """Reference to the variable that the kubelet expands in a container's command."""
        return f"$({self.value})"


class ExitCode(_Number):
    """Exit codes of a training pod; trainserve.api.reasons says which reasons end with each."""

    SUCCEEDED = 0, "The version is published, or the run without output is complete."
    USER_ERROR = 1, "The configuration, the user's script or the run itself failed."
    GATE_NOT_MET = 10, "The trained model is not good enough to be published."
    PARITY_FAILED = 11, "The exported graph computes something else than PyTorch."
    DATA_ERROR = 12, "The data set cannot be read or cannot be trained on."
    STORE_ERROR = 13, "The model store cannot be read or written."
    RANK_LOST = 14, "Another process of the run ended or never came."
    PORT_TAKEN = 15, "Another process listens on the port where the gang meets."
    INTERRUPTED = 143, "The run was stopped by SIGTERM."


def triton_flags(
    repository: object, address: str, mode: Sequence[str] = SERVING_MODE, *, described: bool = True
) -> list[str]:
    """Return the flags of a Triton that serves `repository` and listens only on `address`.

    `described` states whether every config.pbtxt is complete.
    """
    return [
        f"--model-repository={repository}",
        *mode,
        *([COMPLETE_CONFIGURATION] if described else []),
        # Triton's tables of options and models would push the reason why it ends out of the part of the log that is
        # kept as the termination message.
        "--log-info=false",
        f"--http-address={address}",
        f"--grpc-address={address}",
        f"--metrics-address={address}",
        f"--exit-timeout-secs={TRITON_EXIT_SECONDS}",
    ]


def model_flags(*, response_cache: bool, rate_limiter: bool, histogram: bool) -> list[str]:
    """Return the flags that the models' settings require: response cache, rate limiter, latency histogram."""
    flags = [f"--cache-config=local,size={RESPONSE_CACHE_BYTES}"] if response_cache else []
    flags += ["--rate-limit=execution_count"] if rate_limiter else []
    return flags + ([HISTOGRAM_FLAG] if histogram else [])
