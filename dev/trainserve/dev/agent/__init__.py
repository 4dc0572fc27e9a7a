"""The development cluster's node: registers a Node and runs the Pods bound to it as processes, as a kubelet would.

A container is its command, run as root in a private mount namespace over an overlay of the host's files. Limitations:
images are ignored, and so is every field of `securityContext` except `readOnlyRootFilesystem`; containers share the
host's network, process ids and IPC (but each has its own /dev/shm); logs are not rotated; `kubectl exec`, `attach` and
`port-forward` do not work (pod addresses are directly reachable from the host).
"""

from trainserve.dev.agent.leftovers import cleanup

__all__ = ["cleanup"]
