"""Verification of a running server with a version's samples: over HTTP and gRPC, alone, in batches, concurrently."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, cycle, islice
from typing import Any

import numpy as np

from trainserve.serving.protocol.connection import Connect, Transport, connector
from trainserve.serving.protocol.infer import Arrays, InferenceError
from trainserve.serving.samples import ensemble_samples
from trainserve.serving.samples.comparison import Comparison, differences, text
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.servable import Servable
from trainserve.serving.verification import faults
from trainserve.serving.verification.description import NEVER_LOADED, Described, Endpoint, NoServer
from trainserve.serving.verification.evidence import Evidence, Known
from trainserve.serving.verification.report import Fault, Files, Kind, Labels, Report, Run, Worst, WrongLabel

REQUESTS = 32
"""Minimum requests of each run, unless `SECONDS` are over and every sample was sent."""
SECONDS = 2.0
TIMEOUT = 300.0
"""Timeout of an inference, in seconds: the model's speed is unknown."""
SHOWN = 1000
"""Maximum values of the worst sample's row in a report; of a longer row, only the worst value is reported."""

Progress = Callable[[str], None]
Rows = np.ndarray[Any, Any]


def verify(
    http: str,
    grpc: str | None,
    servable: Servable,
    recorded: Recorded,
    *,
    model: str | None = None,
    batches: Sequence[int] | None = None,
    concurrency: int = 8,
    files: Files | None = None,
    others: Iterable[Known] = (),
    progress: Progress = lambda line: None,
) -> Report:
    """Verify the model that the server at `http` (and `grpc`; <host>:<port>) serves as `model` (default: its own name).

    `batches` are by default 1 and the server's largest. `files` is the check of the model's files; `others` are tried
    only if the answers are wrong. Faults are in the report, also an unreachable server; nothing is raised.
    """
    name = model or servable.name
    report = Report(
        verified=False,
        model=servable.name,
        version=servable.manifest.version if servable.manifest else None,
        digest=servable.digest,
        served_as=name,
        files=files,
        url=http,
        grpc_url=grpc,
        reference=recorded.reference,
        samples=len(recorded),
        rtol=recorded.rtol,
        atol=recorded.atol,
        notes=[] if grpc else ["gRPC was not asked: no address of it was given"],
    )
    endpoint = Endpoint(http, TIMEOUT)
    try:
        described = endpoint.describe(name)
        report = replace(report, server=described.server, served_digest=described.digest)
        if described.cached:
            report.notes.append("the response cache answers what is asked again: the latencies are mostly its own")
        fault = _not_loaded(name, described) or faults.wrong_signature(servable, described)
        if fault:
            return replace(report, fault=fault)
        recorded = recorded.declared({tensor: shape for tensor, (_, shape) in (described.inputs or {}).items()})
        addresses: dict[Transport, str] = {"http": http}
        if grpc:
            addresses["grpc"] = grpc
        connects = {
            transport: connector(transport, url, name, recorded.names, TIMEOUT) for transport, url in addresses.items()
        }
        full = max(described.max_batch, recorded.batch)
        sizes = list(batches or dict.fromkeys((recorded.batch, full)))
        runs: list[Run] = []
        served: Arrays = {}
        for transport, connect in connects.items():
            for batch, workers in [*((size, 1) for size in sizes), (recorded.batch, concurrency)]:
                progress(f"{transport}, batch {batch}, {workers} at a time")
                run, answers = _run(transport, connect, recorded, batch, workers)
                runs.append(run)
                if run.max_abs is None:
                    break
                served = served or (answers if batch == recorded.batch else {})
        report = replace(report, runs=runs)
        failed = next((run for run in runs if run.max_abs is None), None)
        if failed:
            return replace(report, fault=_no_answer(endpoint, described, failed))
        progress("labels")
        labels = _labels(endpoint, name, servable, recorded, described, served)
        report = replace(report, labels=labels)
        verified = all(run.matches for run in runs) and (labels is None or labels.matches)
        if verified and faults.claims(servable, described):
            progress("ensemble")
            return _with_ensemble(report, endpoint, name, addresses, servable, recorded, sizes)
        progress("looking for the fault")

        def answer(asked: Recorded) -> Arrays:
            return _run("http", connects["http"], asked, full, 1, repeat=False)[1]

        def again() -> Arrays:
            return _run("http", connects["http"], recorded, recorded.batch, 1, repeat=False)[1]

        evidence = Evidence(servable, recorded, described, runs, labels, served, others, answer, again)
        return replace(report, fault=faults.likeliest(evidence))
    except InferenceError as error:
        return replace(report, fault=Fault(Kind.INFERENCE_FAILED, "the server does not tell its labels", [str(error)]))
    except NoServer as error:
        return replace(report, fault=Fault(Kind.NOT_SERVED, f"no inference server answers at {http}", [str(error)]))


def _run(
    transport: Transport, connect: Connect, recorded: Recorded, batch: int, concurrency: int, repeat: bool = True
) -> tuple[Run, Arrays]:
    """Send every sample once, then more requests to measure latency; returns the answers to each sample, in order."""
    requests = recorded.requests(batch)
    wanted = max(len(requests), REQUESTS * (concurrency if concurrency > 1 else 1)) if repeat else len(requests)
    try:
        answers, latencies = _ask(connect, recorded, list(islice(cycle(requests), wanted)), len(requests), concurrency)
    except InferenceError as error:
        return Run(transport, batch, concurrency, 0, False, f"inference failed: {error}"), {}
    rows = np.concatenate([rows for rows, _ in answers])
    got = recorded.joined([answer for _, answer in answers])
    result = recorded.compare(got, rows)
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    run = Run(
        transport,
        batch,
        concurrency,
        len(latencies),
        result.matches,
        result.message,
        result.max_abs,
        result.max_rel,
        round(float(p50), 3),
        round(float(p99), 3),
        _worst(result),
    )
    return run, {name: array[: len(recorded)] for name, array in got.items()}


def _ask(
    connect: Connect, recorded: Recorded, requests: Sequence[Rows], needed: int, concurrency: int
) -> tuple[list[tuple[Rows, Arrays]], list[float]]:
    """Return the answers to `requests`, in order, and their latencies; only the first `needed` have no time limit."""
    stop = time.monotonic() + SECONDS

    def work(first: int) -> list[tuple[int, Arrays, float]]:
        connection = connect()
        try:
            done = []
            connection.infer(recorded.sent(requests[first]))  # includes the connection and lazy initialization
            for number in range(first, len(requests), concurrency):
                if number >= needed and time.monotonic() > stop:
                    break
                inputs = recorded.sent(requests[number])
                begun = time.perf_counter()
                answer = connection.infer(inputs)
                done.append((number, answer, time.perf_counter() - begun))
            return done
        finally:
            connection.close()

    workers = range(min(concurrency, len(requests)))
    with ThreadPoolExecutor(len(workers)) as pool:
        done = sorted(chain.from_iterable(pool.map(work, workers)), key=lambda each: each[0])
    return [(requests[number], answer) for number, answer, _ in done], [seconds for *_, seconds in done]


def _worst(result: Comparison) -> Worst | None:
    if result.expected is None or result.got is None:
        return None
    expected, got = result.expected.reshape(-1), result.got.reshape(-1)
    if not expected.size:
        return None
    apart = differences(expected, got)
    position = int(apart.argmax())
    shown = slice(None) if expected.size <= SHOWN else slice(position, position + 1)
    return Worst(
        result.worst,
        result.output,
        position,
        float(apart[position]),
        _plain(expected[shown]),
        _plain(got[shown]),
    )


def _plain(values: np.ndarray[Any, Any]) -> list[Any]:
    """Return numbers or texts, for JSON."""
    return [text(value) for value in values] if values.dtype.kind in "OSU" else values.tolist()


def _labels(
    endpoint: Endpoint, model: str, servable: Servable, recorded: Recorded, described: Described, served: Arrays
) -> Labels | None:
    """Compare the server's labels, and the classes of its answers; None for a model without labels."""
    name = servable.labelled_output
    if name is None or name not in served:
        return None
    # As in labels.txt, one per line; a class with an empty line has no label, and is called by its number.
    wanted = [" ".join(label.split()) or str(index) for index, label in enumerate(servable.labels)]
    wrong: list[WrongLabel] = []
    if described.max_batch and not recorded.whole:  # without a batch axis the extension takes all rows as one
        got = endpoint.labels(model, name, len(wanted), recorded.sent(np.zeros(1, int)))
        both = enumerate(zip(wanted, got, strict=True))
        wrong = [WrongLabel(index, expected, found) for index, (expected, found) in both if expected != found]
    labels = Labels(not wrong, len(wanted), wrong)
    truth = recorded.truth
    if truth is not None and not np.issubdtype(truth.dtype, np.integer):
        return labels  # a regression: its outputs have names, but no most probable one
    if served[name].shape != recorded.outputs[name].shape:
        return labels
    classes, expected = served[name].argmax(axis=-1), recorded.outputs[name].argmax(axis=-1)
    labels = replace(labels, same=int((classes == expected).sum()), samples=classes.size)
    if truth is None or truth.shape != classes.shape:
        return labels
    accuracies = float((classes == truth).mean()), float((expected == truth).mean())
    return replace(labels, served_accuracy=accuracies[0], recorded_accuracy=accuracies[1])


def _not_loaded(model: str, described: Described) -> Fault | None:
    if described.ready:
        return None
    waiting = [f"{name}: {why or 'not loaded'}" for name, why in (described.waiting or {}).items()]
    if waiting and described.reason == NEVER_LOADED:
        message = f"{model} is not loaded, because a model that it is made of is not"
        return Fault(Kind.HALF_LOADED_ENSEMBLE, message, waiting)
    return Fault(Kind.NOT_SERVED, f"the server does not serve {model}: {described.reason}")


def _half_loaded(endpoint: Endpoint, model: str) -> Fault | None:
    """Find an ensemble around a right model that is not loaded because another of its steps is not."""
    try:
        models = endpoint.models()
    except NoServer:  # a server may restrict its index (--http-restricted-api)
        return None
    missing = {name: why or state for name, (state, why) in models.items() if state != "READY"}
    if not missing:
        return None
    ensemble = ensemble_samples.name_of(model)
    if ensemble not in missing:
        return None
    proof = [f"{name}: {why or 'not loaded'}" for name, why in missing.items() if name != ensemble]
    message = f"{ensemble} is not loaded, because a model that it is made of is not; {model} itself is right"
    return Fault(Kind.HALF_LOADED_ENSEMBLE, message, proof)


def _with_ensemble(
    report: Report,
    endpoint: Endpoint,
    model: str,
    addresses: Mapping[Transport, str],
    servable: Servable,
    recorded: Recorded,
    sizes: Sequence[int],
) -> Report:
    """Verify the ensemble around a model whose own answers are right, if there is one.

    Every sample is sent through it once in each size of request.
    """
    fault, name = _half_loaded(endpoint, model), ensemble_samples.name_of(model)
    if fault or not endpoint.ready(name):
        return replace(report, verified=fault is None, fault=fault)
    samples = ensemble_samples.of_ensemble(servable, recorded)
    if samples is None:
        report.notes.append(
            f"{name} was not asked: the recorded inputs are not what preprocessing makes of uint8 images"
        )
        return replace(report, verified=True)
    runs: list[Run] = []
    for transport, url in addresses.items():
        connect = connector(transport, url, name, samples.names, TIMEOUT)
        for size in sizes:
            run, _ = _run(transport, connect, samples, size, 1, repeat=False)
            runs.append(run)
            if run.max_abs is None:
                fault = _no_answer(endpoint, endpoint.describe(name), run)
                return replace(report, ensemble_runs=runs, fault=fault)
    fault = faults.wrong_ensemble(name, runs)
    if fault is None:
        report.notes.append(f"{name} gives what was recorded, too: {runs[0].message}")
        fault = _wrong_labels(report, endpoint, model, addresses["http"], servable, recorded, max(sizes))
    return replace(report, verified=fault is None, ensemble_runs=runs, fault=fault)


def _wrong_labels(
    report: Report, endpoint: Endpoint, model: str, url: str, servable: Servable, recorded: Recorded, size: int
) -> Fault | None:
    """Find a fault of an ensemble's last step, which names the classes, with samples of every class.

    Only a step with the name and the tensors that this project generates is checked.
    """
    name, samples = ensemble_samples.labels_of(model), ensemble_samples.of_labels(servable, recorded)
    if samples is None or not endpoint.ready(name):
        return None
    described = endpoint.describe(name)
    if list(described.inputs or ()) != list(samples.inputs) or set(described.outputs or ()) != set(samples.names):
        return None
    run, _ = _run("http", connector("http", url, name, samples.names, TIMEOUT), samples, size, 1, repeat=False)
    if run.max_abs is None:
        return _no_answer(endpoint, described, run)
    if run.matches:
        report.notes.append(f"{name} gives each of the {len(samples)} classes its own label")
    return faults.wrong_ensemble(name, [run])


def _no_answer(endpoint: Endpoint, described: Described, failed: Run) -> Fault:
    proof = [f"over {failed.protocol}, batch {failed.batch}: {failed.message}"]
    if described.steps:
        missing = endpoint.unready_steps(described)
        what = ", ".join(missing) or "one of " + ", ".join(described.steps)
        proof += [f"{step}: {why}" for step, why in missing.items()]
        return Fault(Kind.HALF_LOADED_ENSEMBLE, f"a step of the ensemble does not answer: {what}", proof)
    return Fault(Kind.INFERENCE_FAILED, "the server says the model is ready, and does not answer for it", proof)
