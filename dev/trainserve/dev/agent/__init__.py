"""The development cluster's node: registers a Node and runs the Pods bound to it as processes, as a kubelet would.

Images and `securityContext` are ignored: a container is its command, run as root in a private mount namespace.
"""

from trainserve.dev.agent.leftovers import cleanup

__all__ = ["cleanup"]
