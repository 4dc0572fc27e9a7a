"""Restarts of containers: restart policy, and the kubelet's exponential backoff."""

FIRST_SECONDS = 10.0
LONGEST_SECONDS = 300.0
# A container that ran this long has recovered (client-go/util/flowcontrol/backoff.go: twice the longest delay).
FORGET_SECONDS = 2 * LONGEST_SECONDS


def should_restart(policy: str, exit_code: int) -> bool:
    """Return whether a container that exited with `exit_code` starts again under `restartPolicy`."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def init_policy(policy: str) -> str:
    """Return an init container's restart policy: its success is final under every policy of the pod."""
    return "OnFailure" if policy == "Always" else policy


def next_backoff(backoff: float | None, ran_seconds: float) -> float:
    """Return the seconds to wait before the next start, counted from the end of the last run.

    `backoff` is the wait in seconds before the run that ended, None if that was the first. The first restart is
    immediate; later ones wait 10 s, doubling up to 300 s.
    """
    if backoff is None or ran_seconds > FORGET_SECONDS:
        return 0.0
    return FIRST_SECONDS if backoff == 0 else min(2 * backoff, LONGEST_SECONDS)
