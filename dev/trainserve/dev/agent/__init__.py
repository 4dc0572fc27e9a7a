"""The development cluster's node: registers a Node and runs the Pods bound to it as processes, as a kubelet would.

A container is its command, run as root in a private mount namespace over an overlay of the host's files. Images are
ignored, and of `securityContext` all but `readOnlyRootFilesystem`; network, process ids and IPC are the host's,
/dev/shm is each container's own; logs are not rotated; there is no `kubectl exec`, `attach` or `port-forward` (the host
reaches a pod's address as it is).
"""

from trainserve.dev.agent.leftovers import cleanup

__all__ = ["cleanup"]
