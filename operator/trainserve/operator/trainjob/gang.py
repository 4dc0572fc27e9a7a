"""The gang of processes that train one model, and its rendezvous; torchrun starts the processes of each pod."""

from __future__ import annotations

import hashlib
from typing import Any

from trainserve.api.pod import Variable
from trainserve.api.trainjob import TrainJobSpec
from trainserve.operator import labels
from trainserve.operator.objects import Object
from trainserve.operator.trainjob.names import attempt_name, pod_name

FIRST_PORT, PORTS = 29500, 3000
"""Range of rendezvous ports: from torchrun's default port up to the ephemeral ports."""


def processes(spec: TrainJobSpec) -> int:
    """Return the number of processes in each pod."""
    return spec.workers.processes(spec.resources.gpus)


def is_gang(spec: TrainJobSpec) -> bool:
    """Return whether the job runs more than one process."""
    return spec.workers.nodes * processes(spec) > 1


def port(job: Object, attempt: int) -> int:
    """Return the rendezvous port of an attempt, derived from the job's uid so that gangs that share a network, as on
    the development cluster, get different ports."""
    digest = hashlib.sha256(f"{job['metadata']['uid']}/{attempt}".encode()).digest()
    return FIRST_PORT + int.from_bytes(digest[:4]) % PORTS


def rendezvous(job: Object, spec: TrainJobSpec, attempt: int, rank: int) -> list[dict[str, str]]:
    """Return torchrun's own variables (torch.distributed.run also reads every option from PET_<OPTION>).

    The rendezvous is in rank 0's pod. A process that fails ends its pod, and the operator restarts the gang in new
    pods.
    """
    name = job["metadata"]["name"]
    first = f"{pod_name(name, attempt, 0)}.{attempt_name(name, attempt)}"
    variables = {
        "NNODES": spec.workers.nodes,
        "NPROC_PER_NODE": processes(spec),
        "NODE_RANK": rank,
        "MASTER_ADDR": first if spec.workers.nodes > 1 else Variable.POD_IP.reference,
        "MASTER_PORT": port(job, attempt),
        "MAX_RESTARTS": 0,
    }
    return [{"name": f"PET_{name}", "value": str(value)} for name, value in variables.items()]


def place(pod: Object, job: Object, attempt: int) -> None:
    """Give a gang's pod the host name by which the others find it, and a preference for a node of its own."""
    selector = {labels.TRAINJOB: job["metadata"]["name"], labels.ATTEMPT: str(attempt)}
    term = {"labelSelector": {"matchLabels": selector}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    spec: dict[str, Any] = pod["spec"]
    spec |= {"hostname": pod["metadata"]["name"], "subdomain": attempt_name(job["metadata"]["name"], attempt)}
    spec["affinity"] = spec.get("affinity", {}) | {"podAntiAffinity": apart}
