"""Restarts of containers: restart policy, and the kubelet's exponential backoff."""

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0
# A container that ran this long has recovered (client-go/util/flowcontrol/backoff.go: twice the longest delay).
FORGET_SECONDS = 2 * LONGEST_SECONDS


def should_restart(policy: str, exit_code: int) -> bool:
    """Return whether a container that exited with `exit_code` starts again under `restartPolicy`."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def init_policy(policy: str) -> str:
    """The policy an init container follows: its success is final whatever the pod's policy."""
    return "OnFailure" if policy == "Always" else policy


def next_backoff(backoff: float | None, ran_seconds: float) -> float:
    """Seconds to wait before the next start; `backoff` was the wait before the one that ended (None: it was the first).

    The first restart is immediate; then 10 s, doubling up to 300 s, from the moment the container ended.
    """
    if backoff is None or ran_seconds > FORGET_SECONDS:
        return 0.0
    return FIRST_SECONDS if backoff == 0 else min(2 * backoff, LONGEST_SECONDS)
