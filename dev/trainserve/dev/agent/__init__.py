"""The development cluster's node: registers a Node and runs the Pods bound to it as processes, as a kubelet would.

A container is its command, run as root in a private mount namespace over an overlay of the host's files. Images and
`securityContext` are ignored; network, process ids, IPC and /dev/shm are the host's; logs are not rotated; there is no
`kubectl exec`, `attach` or `port-forward` (a pod's address is reachable from the host as it is).
"""

from trainserve.dev.agent.leftovers import cleanup

__all__ = ["cleanup"]
