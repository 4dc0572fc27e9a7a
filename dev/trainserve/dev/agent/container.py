"""One container of a pod: start, restarts, probes, stop, and takeover from an earlier agent process."""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp

from trainserve.dev.agent import probes
from trainserve.dev.agent.client import Refused
from trainserve.dev.agent.environment import ConfigError
from trainserve.dev.agent.host import Host, cancel, first_of
from trainserve.dev.agent.records import (
    Attempt,
    ContainerRecord,
    PodFolder,
    Running,
    Terminated,
    Waiting,
    ran_seconds,
    restarted,
)
from trainserve.dev.agent.restart import next_backoff, should_restart
from trainserve.dev.agent.runtime import Process

Object = dict[str, Any]
Configure = Callable[[Object, Attempt], Awaitable[Process]]
"""Returns the process for an attempt of a container. Raises ConfigError, Refused, aiohttp.ClientError, OSError."""

RETRY_SECONDS = (0.25, 0.5, 1, 2, 4, 8)
# Minimum time that a kubelet gives a container to end after its preStop hook (pkg/kubelet/kuberuntime).
LEAST_GRACE_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ContainerWorker:
    """Runs one container. `record` holds what its status shows; `changed` is called whenever `record` changes."""

    def __init__(
        self,
        host: Host,
        pod: Object,
        spec: Object,
        folder: PodFolder,
        *,
        pod_ip: str,
        configure: Configure,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.record = ContainerRecord(self.name, spec["image"])
        self._host = host
        self._pod = pod
        self._folder = folder
        self._configure = configure
        self._changed = changed
        self._attempt: Attempt | None = None
        self._process: Process | None = None
        self._prober = probes.Prober(host.probes, spec, pod_ip, self._execute)
        self._starting: asyncio.Task[None] | None = None

    def restore(self, status: Object | None) -> None:
        """Take over the state that an earlier agent process left on disk; `status` is its last ContainerStatus."""
        attempts = self._folder.attempts(self.name)
        if not attempts:
            return
        self._attempt = attempts[-1]
        last = self._result(attempts[-2]) if len(attempts) > 1 and attempts[-2].ended() else None
        same = status is not None and status.get("containerID") == self._attempt.container_id
        self.record = replace(
            self.record,
            last=last,
            restarts=self._attempt.number,
            started=same and bool(status and status.get("started")),
            ready=same and bool(status and status.get("ready")),
        )
        if self._attempt.ended():
            self._collect(self._attempt)
        elif (started_at := self._attempt.started_at()) is not None:
            self._set(state=Running(started_at), container_id=self._attempt.container_id)

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt; None before the first."""
        return self._attempt

    async def keep(self, policy: str) -> Terminated:
        """Run the container and restart it under the restart policy `policy`. Returns its final state."""
        backoff = 0.0
        attempt = self._attempt or self._folder.attempt(self.name, 0)
        while True:
            ended = await self._run(attempt, backoff)
            if not should_restart(policy, ended.exit_code):
                return ended
            before = attempt.backoff() if attempt.number else None
            backoff = next_backoff(before, ran_seconds(ended))
            wait = ended.finished_at + backoff - time.time()
            if wait > 0:
                message = f"back-off {backoff:g}s restarting failed container={self.name}"
                self._set(state=Waiting("CrashLoopBackOff", message), last=ended, ready=False, started=False)
                self._host.warn(self._pod, "BackOff", message)
                await asyncio.sleep(wait)
            attempt = self._folder.attempt(self.name, attempt.number + 1)
            self.record = restarted(self.record)
            self._folder.forget_before(self.name, attempt.number - 1)

    async def stop(self, grace: float, now: asyncio.Event) -> None:
        """Stop the container if it runs: preStop hook, SIGTERM, SIGKILL after `grace` seconds or once `now` is set."""
        attempt = self._attempt
        if self._starting is not None:
            await self._starting
        if attempt is None or attempt.ended() or attempt.started_at() is None:
            if attempt is not None and attempt.ended():
                self._collect(attempt)
            return
        exited = asyncio.create_task(self._host.runtime.wait(attempt.folder))
        hurry = asyncio.create_task(now.wait())
        try:
            if grace > 0 and not now.is_set():
                deadline = time.monotonic() + grace
                if hook := self.spec.get("lifecycle", {}).get("preStop"):
                    running = asyncio.create_task(self._run_hook("PreStop", hook))
                    await first_of(running, exited, hurry, timeout=grace)
                    await cancel([running])
                await self._host.runtime.signal(attempt.folder, signal.SIGTERM)
                await first_of(exited, hurry, timeout=max(LEAST_GRACE_SECONDS, deadline - time.monotonic()))
            if not exited.done():
                await self._host.runtime.kill(attempt.folder)
            await exited
        finally:
            await cancel([exited, hurry])
        self._collect(attempt)

    async def _run(self, attempt: Attempt, backoff: float) -> Terminated:
        """Run one attempt to its end; it may be new, already started or already ended."""
        self._attempt = attempt
        if attempt.ended():
            return self._collect(attempt)
        if attempt.started_at() is None:
            process = await self._configured(attempt)
            if not attempt.folder.exists():
                attempt.create(backoff=backoff)
            # A concurrent `stop` must know whether there is a process to stop.
            self._starting = asyncio.create_task(self._host.runtime.start(attempt.folder, process))
            await asyncio.shield(self._starting)
            if attempt.ended() and attempt.started_at() is None:
                ended = self._collect(attempt)
                self._host.warn(self._pod, "Failed", f"Error: {ended.message}")
                return ended
        probed = self.spec.keys() & {"startupProbe", "readinessProbe"}
        fresh = not self.record.started
        started_at = attempt.started_at() or time.time()
        self._set(
            state=Running(started_at),
            container_id=attempt.container_id,
            started=self.record.started or "startupProbe" not in self.spec,
            ready=self.record.ready or not probed,
        )
        self._host.logs.begin(attempt)
        tasks = [asyncio.create_task(self._watch_health(started_at))]
        if fresh and (hook := self.spec.get("lifecycle", {}).get("postStart")):
            tasks.append(asyncio.create_task(self._post_start(hook)))
        try:
            await self._host.runtime.wait(attempt.folder)
        finally:
            await cancel(tasks)
        return self._collect(attempt)

    async def _configured(self, attempt: Attempt) -> Process:
        """Return the attempt's process; wait until the objects to which it refers exist."""
        tries = 0
        while True:
            try:
                self._process = await self._configure(self.spec, attempt)
            except ConfigError as error:
                self._set(state=Waiting("CreateContainerConfigError", str(error)))
                self._host.warn(self._pod, "Failed", f"Error: {error}")
            except (Refused, aiohttp.ClientError, TimeoutError, OSError) as error:
                self._set(state=Waiting("CreateContainerError", str(error)))
            else:
                return self._process
            await asyncio.sleep(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
            tries += 1

    def _collect(self, attempt: Attempt) -> Terminated:
        """Record how an attempt ended, and free its cgroups and log watch."""
        if self._host.cgroups.out_of_memory(attempt.group):
            attempt.mark_out_of_memory()
        self._host.cgroups.remove(attempt.group)
        self._host.logs.end(attempt)
        ended = self._result(attempt)
        self._set(state=ended, container_id=attempt.container_id, ready=False, started=False)
        return ended

    def _result(self, attempt: Attempt) -> Terminated:
        return attempt.result(policy=self.spec.get("terminationMessagePolicy", "File"))

    def _set(self, **changes: Any) -> None:
        record = replace(self.record, **changes)
        if record != self.record:
            self.record = record
            self._changed()

    async def _watch_health(self, started_at: float) -> None:
        """Run the probes: startup first, then readiness and liveness concurrently."""
        unhealthy = asyncio.Event()

        def doubt(kind: str) -> Callable[[str], None]:
            return lambda message: self._host.warn(self._pod, "Unhealthy", f"{kind} probe failed: {message}")

        def delay(probe: Object) -> float:
            return max(0.0, started_at + float(probe.get("initialDelaySeconds", 0)) - time.time())

        def watch(kind: str, *, healthy: bool, changed: Callable[[bool, str], None]) -> asyncio.Task[None]:
            probe = self.spec[kind]
            check = probes.watch(
                lambda: self._prober.check(probe),
                probe,
                healthy=healthy,
                delay=delay(probe),
                changed=changed,
                failed=doubt(kind.removesuffix("Probe").capitalize()),
            )
            return asyncio.create_task(check)

        tasks = []
        try:
            if "startupProbe" in self.spec and not self.record.started:
                startup = self._watch_startup(delay(self.spec["startupProbe"]), doubt("Startup"))
                tasks.append(asyncio.create_task(startup))
                await tasks[0]
                if not self.record.started:
                    return
            if "readinessProbe" in self.spec:
                tasks.append(
                    watch("readinessProbe", healthy=self.record.ready, changed=lambda ok, _: self._set(ready=ok))
                )
            else:
                self._set(ready=True)
            if "livenessProbe" in self.spec:
                tasks.append(watch("livenessProbe", healthy=True, changed=lambda ok, _: unhealthy.set()))
                await unhealthy.wait()
                await self._kill_unhealthy("failed liveness probe")
            await asyncio.gather(*tasks)
        finally:
            await cancel(tasks)

    async def _watch_startup(self, delay: float, failed: Callable[[str], None]) -> None:
        """Return once the startup probe succeeds; stop the container if the probe fails too often."""
        probe = self.spec["startupProbe"]
        await asyncio.sleep(delay)
        belief = probes.Belief(healthy=False)
        while not belief.healthy:
            success, message = await self._prober.check(probe)
            belief = probes.judge(belief, success, probe)
            if not success:
                failed(message)
                if belief.run >= probe.get("failureThreshold", 3):
                    await self._kill_unhealthy("failed startup probe")
                    return
            if not belief.healthy:
                await asyncio.sleep(probe.get("periodSeconds", 10))
        self._set(started=True)

    async def _kill_unhealthy(self, why: str) -> None:
        self._host.warn(self._pod, "Killing", f"Container {self.name} {why}, will be restarted")
        await self._stop_gracefully()

    async def _stop_gracefully(self) -> None:
        grace = float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))
        await self.stop(grace, asyncio.Event())

    async def _post_start(self, hook: Object) -> None:
        if not await self._run_hook("PostStart", hook):
            await self._stop_gracefully()

    async def _run_hook(self, kind: str, hook: Object) -> bool:
        """Run a lifecycle hook; return whether it succeeded."""
        try:
            if action := hook.get("exec"):
                code, output = await self._execute(action["command"])
                problem = f"exit code {code}: {output}" if code else ""
            elif action := hook.get("httpGet"):
                status, body = await self._prober.http_get(action)
                problem = f"status {status}: {body}" if status >= 400 else ""
            elif action := hook.get("sleep"):
                await asyncio.sleep(action["seconds"])
                problem = ""
            else:
                problem = f"{', '.join(hook)} is not a hook this node runs"
        except (OSError, aiohttp.ClientError) as error:
            problem = str(error)
        if problem:
            self._host.warn(self._pod, f"Failed{kind}Hook", f"{kind} hook of container {self.name} failed: {problem}")
        return not problem

    async def _execute(self, command: list[str]) -> tuple[int, str]:
        attempt = self._attempt
        assert attempt is not None
        if self._process is None:
            self._process = await self._configure(self.spec, attempt)
        result = await self._host.runtime.execute(attempt.folder, command, self._process.env, self._process.cwd)
        return result.exit_code, result.output
