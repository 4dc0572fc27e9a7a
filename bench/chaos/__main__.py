"""Fault injection for half an hour: processes are killed or paused, connections cut, clocks shifted, the store filled.

20 TrainJobs with checkpoints train small networks and publish five versions of each of four models. Three ModelServes
with two replicas each serve three of these models under load: two follow the newest version, one stays with the first.
The first version of each model is trained and served before the faults begin (faults.py lists the faults and their
bounds). After the faults, the remaining jobs train, and everything settles; then all is counted, and deleted.

Nothing may be lost:

- each job is Complete with one version: the number and the digest agree in the store, the status and the namespace's
  record, every file is intact, no number is missing, and no partial version or checkpoint is left;
- each ModelServe is Ready and Verified, with the expected version;
- each request of the product's own client is answered, and correctly (load.py). Requests of other clients whose
  connection is cut while they wait are neither guaranteed nor counted;
- after all objects are deleted, only the record of versions is left of them.

Not disturbed are the folders outside the store to which pods write, on this machine's disk, and the parent of all
container processes, which corresponds to containerd. The guarantees do not cover a machine that gives all processes no
CPU for half a minute: five failed liveness probes in a row end a server, as in any cluster, and here all of them.

Run with `python -m bench.chaos [--minutes 30] [--seed N]`; it is not part of `make test` or `make bench`.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from bench.chaos import tally
from bench.chaos.faults import KNOWN, Faults, Happened
from bench.chaos.load import Caller, Loss, callers
from bench.chaos.scene import AWAY, NAMESPACE, Scene
from bench.report import Bar, report, versions
from trainserve.dev.kube import ApiError
from trainserve.operator import labels

NETWORKS = {"plain": "convnet", "gated": "gru", "long": "lstm", "spare": "convnet"}
"""Networks by the name of the published model."""
SERVED: dict[str, dict[str, Any]] = {
    "follows-plain": {"name": "plain"},
    "follows-gated": {"name": "gated"},
    "stays-long": {"name": "long", "version": 1},
}
JOBS, AT_ONCE = 20, 5
"""Total number of TrainJobs, and maximum number at a time."""
EPOCHS = (20, 80)
SETTLE_SECONDS = 1800.0
ENDING_SECONDS = 20.0
"""Seconds after the end of a fault during which a loss is attributed to it."""


def job_spec(model: str, epochs: int) -> dict[str, Any]:
    """Return the spec of a TrainJob; jobs of one model share data set and seed, so that their samples are equal."""
    shape = {"samples": 100, "classes": 3, "shape": [8, 8, 1]}
    return {
        "model": {"name": NETWORKS[model]},
        "dataset": {"name": "synthetic", "options": shape},
        "trainer": {"epochs": epochs, "seed": list(NETWORKS).index(model)},
        "checkpoint": {"everyEpochs": 5},
        "output": {"model": model},
    }


def create(scene: Scene, kind: str, name: str, spec: dict[str, Any]) -> None:
    """Create an object exactly once, with retries while the API server is away."""
    try:
        scene.patiently(partial(scene.client.create, kind, {"metadata": {"name": name}, "spec": spec}))
    except ApiError as error:
        if error.status != 409:  # already created by a request whose response was lost
            raise


class Jobs(threading.Thread):
    """Creates the TrainJobs `numbers`, spread over `seconds`, with at most AT_ONCE running at a time."""

    def __init__(self, scene: Scene, numbers: range, seconds: float, seed: int) -> None:
        super().__init__(daemon=True)
        self._scene, self._numbers, self._seconds, self._seed = scene, numbers, seconds, seed
        self.created = 0

    def run(self) -> None:
        """Create all jobs."""
        began, models, chance = time.monotonic(), list(NETWORKS), random.Random(self._seed)
        for turn, number in enumerate(self._numbers):
            while time.monotonic() - began < turn * self._seconds / len(self._numbers):
                time.sleep(0.5)
            while len(self._scene.patiently(self._scene.jobs_going_on)) >= AT_ONCE:
                time.sleep(1.0)
            spec = job_spec(models[number % len(models)], chance.randint(*EPOCHS))
            create(self._scene, "TrainJob", f"job-{number}", spec)
            self.created += 1
            print(f"{self._scene.clock()} job-{number} created", flush=True)


def wait(scene: Scene, until: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS) -> bool:
    """Wait until `until` holds, for at most `seconds`; return whether it does."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        try:
            if until():
                return True
        except AWAY:
            pass
        time.sleep(1.0)
    print(f"{scene.clock()} waited in vain until {what}", flush=True)
    return False


def serving(scene: Scene, newest: dict[str, int]) -> list[str]:
    """Return the ModelServes that are Ready and Verified, with all replicas and the expected version."""
    found = []
    for serve in scene.client.list("ModelServe"):
        name, status = serve["metadata"]["name"], serve.get("status") or {}
        model = SERVED[name]
        whole = status.get("replicas") == {"desired": 2, "ready": 2} and len(scene.ready_pods(name)) == 2
        right = status.get("version") == model.get("version", newest.get(model["name"], 1))
        if whole and right and tally.true_conditions(serve) >= {"Ready", "Verified"}:
            found.append(name)
    return found


def remains(scene: Scene) -> list[str]:
    """List objects that remain after the deletion."""
    selectors = dict.fromkeys(("TrainJob", "ModelServe"), "")
    selectors |= dict.fromkeys(("Pod", "Service", "ConfigMap", "Deployment"), labels.SELECTOR)
    found = []
    for kind, selector in selectors.items():
        names = [each["metadata"]["name"] for each in scene.client.list(kind, selector=selector)]
        found += [f"{kind} {name}" for name in names if not name.startswith("trainserve-versions.")]
    return found


def during(loss: Loss, happened: list[Happened]) -> str:
    """Describe a loss in one line, with the faults that may have caused it."""
    names = {
        f"{each.name} {each.victim}".strip()
        for each in happened
        if each.began <= loss.ended and loss.began <= each.ended + ENDING_SECONDS
    }
    return f"{loss.kind} to {loss.serve}, during {', '.join(sorted(names)) or 'nothing'}: {loss.why}"


def play(scene: Scene, minutes: float, seed: int) -> bool:
    """Run the whole scenario with `minutes` of faults; return whether nothing was lost."""
    scene.up()
    print(f"{scene.clock()} the cluster is up; store of its own: {scene.small}", flush=True)
    first = len(NETWORKS)
    for number, model in enumerate(NETWORKS):
        create(scene, "TrainJob", f"job-{number}", job_spec(model, EPOCHS[0]))
    if not wait(scene, lambda: not scene.jobs_going_on(), "the first jobs are over"):
        return False
    for name, served in SERVED.items():
        create(scene, "ModelServe", name, {"model": served, "replicas": 2})
    if not wait(scene, lambda: len(serving(scene, {})) == len(SERVED), "all serve"):
        return False

    ports = {name: (str(SERVED[name]["name"]), scene.ports(name)) for name in SERVED}
    asking, faults = callers(ports, scene.cluster.store, NAMESPACE), Faults(scene, seed)
    stop = asyncio.Event()
    load = [asyncio.run_coroutine_threadsafe(caller.run(stop), scene.loop) for caller in asking]
    jobs = Jobs(scene, range(first, JOBS), minutes * 60 * 0.8, seed)
    print(f"{scene.clock()} {minutes:g} minutes of faults begin, seed {seed}", flush=True)
    jobs.start()
    faults.start()
    time.sleep(minutes * 60)
    faults.stop()
    while_disturbed = first + jobs.created
    print(f"{scene.clock()} the faults are over; {while_disturbed} jobs were there by now", flush=True)

    def settled() -> bool:
        faults.supervise()
        return not jobs.is_alive() and not scene.jobs_going_on()

    wait(scene, settled, "all jobs are over")
    found = tally.published(scene.cluster.store, NAMESPACE)
    newest = {each.model: each.number for each in sorted(found, key=lambda each: each.number)}
    wait(scene, lambda: len(serving(scene, newest)) == len(SERVED), "all serve again", 600.0)
    scene.loop.call_soon_threadsafe(stop.set)
    for each in load:
        each.result(120.0)
    return tell(scene, minutes, seed, faults, asking, found, newest, while_disturbed)


def tell(
    scene: Scene,
    minutes: float,
    seed: int,
    faults: Faults,
    asking: list[Caller],
    found: list[tally.Version],
    newest: dict[str, int],
    while_disturbed: int,
) -> bool:
    """Count losses, delete everything and write the report; return whether every goal was reached."""
    client, patiently = scene.client, scene.patiently
    jobs = patiently(lambda: client.list("TrainJob"))
    record = tally.recorded(patiently(lambda: client.list("ConfigMap")))
    counted = tally.count(jobs, found, record)
    left = tally.leftovers(scene.cluster.store, NAMESPACE)
    going_on = [pod for pod in scene.pods("trainjob") if pod["status"].get("phase") in ("Pending", "Running")]
    still = [pod["metadata"]["name"] for pod in going_on]
    served = serving(scene, newest)
    for kind in ("TrainJob", "ModelServe"):
        for each in patiently(partial(client.list, kind)):
            patiently(partial(client.delete, kind, each["metadata"]["name"]))
    wait(scene, lambda: not remains(scene), "everything is gone", 180.0)
    remaining = remains(scene)

    losses = [loss for caller in asking for loss in caller.count.losses]
    wrong = sum(caller.count.wrong for caller in asking)
    bars = [
        Bar("TrainJobs: Complete", counted.complete, "", JOBS, "more"),
        Bar("TrainJobs: Failed", counted.failed, "", 0),
        Bar("TrainJobs: neither", counted.going_on, "", 0),
        Bar("TrainJobs: published twice", counted.twice, "", 0),
        Bar("TrainJobs: Complete without a version", counted.unpublished, "", 0),
        Bar("versions published", len(found), "", JOBS, "more"),
        Bar("versions verified, as in status and record", counted.verified, "", JOBS, "more"),
        Bar("versions missing between others", counted.gaps, "", 0),
        Bar("half-written folders and checkpoints left", len(left), "", 0),
        Bar("pods going on of jobs that are over", len(still), "", 0),
        Bar("ModelServes: Ready and Verified, right version", len(served), "", len(SERVED), "more"),
        Bar("objects left after deletion", len(remaining), "", 0),
        Bar("requests sent, all together", sum(caller.count.sent for caller in asking), "requests"),
        Bar("requests lost or answered wrongly, all together", wrong + len(losses), "requests", 0),
    ]
    for caller in asking:
        name, count = f"{caller.serve}, {caller.kind}", caller.count
        bars += [
            Bar(f"{name}: sent", count.sent, "requests"),
            Bar(f"{name}: answered", count.answered, "requests", count.sent, "more"),
            Bar(f"{name}: lost", len(count.losses), "requests", 0),
            Bar(f"{name}: answered wrongly", count.wrong, "requests", 0),
            Bar(f"{name}: slowest answer", count.slowest, "s"),
        ]
    times = Counter(each.name for each in faults.happened)
    bars += [Bar(f"faults: {name}", times[name], "times") for name in KNOWN]
    n = {"minutes": round(minutes), "jobs": JOBS, "modelServes": len(SERVED), "faults": len(faults.happened)}
    used = versions("kopf", "kubernetes", "torch", "onnxruntime", "tritonclient", "grpcio", "aiohttp")
    return report(
        "chaos",
        bars,
        n | {"jobsThereWhenTheFaultsEnded": while_disturbed},
        used,
        seed=seed,
        loadAverage=os.getloadavg(),
        skipped=dict(faults.skipped),
        endedByThemselves=dict(faults.revived),
        attempts=dict(counted.attempts),
        lost=dict(Counter(during(loss, faults.happened) for loss in losses)),
        told=counted.told,
        left=[*left, *still, *remaining],
    )


@click.command()
@click.option("--minutes", default=30.0, show_default=True, help="Of faults; settling comes after them.")
@click.option("--seed", default=0, show_default=True, help="Of what happens when.")
def main(minutes: float, seed: int) -> None:
    """Count what is lost while 20 TrainJobs and 3 ModelServes are disturbed: it must be nothing."""
    scene, well = Scene(list(SERVED)), False
    try:
        well = play(scene, minutes, seed)
    finally:
        scene.down()
        if well:
            shutil.rmtree(scene.folder, ignore_errors=True)
        else:
            print(f"what was seen stays in {scene.folder}", flush=True)
    sys.exit(not well)


if __name__ == "__main__":
    main()
