"""Programs of a ModelServe's pods: `python -m trainserve.serving fetch|resolve|probe|tune` (docs/contracts.md).

Each command imports only what it needs, so that it starts in a fraction of a second in every pod.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from trainserve.api.pod import Variable
from trainserve.serving.pod.duration_option import SECONDS

if TYPE_CHECKING:
    from trainserve.api import messages
    from trainserve.serving.samples.recorded import Recorded
    from trainserve.store.signing import PublicKey


@click.group()
def main() -> None:
    """Run a program of a ModelServe's pods."""


@main.command()
@click.option("--store", "root", help="The store's root as mounted here, or its s3:// URL.")
@click.option("--path", help="<namespace>/<model>/<version> below the root.")
@click.option("--source", help="Instead of both: address of a version, a lone .onnx file or an archive.")
@click.option("--digest", required=True, help="sha256:<hex> of the version's manifest.json, or of the lone file.")
@click.option(
    "--samples",
    "given_samples",
    metavar="ADDRESS",
    help="Address of an .npz file with real inputs for a lone .onnx file.",
)
@click.option("--samples-digest", help="sha256:<hex> of that file. Unset: not checked.")
@click.option("--into", required=True, type=click.Path(path_type=Path), help="Folder for version/ and repository/.")
@click.option("--model-name", required=True, help="Name under which Triton serves the model.")
@click.option("--settings", "given", default="{}", metavar="JSON", help="As a ModelServe's spec.triton.")
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help="GPUs the pod requested.")
@click.option("--cache", "folder", type=click.Path(path_type=Path), help="Folder of the node's model cache.")
@click.option("--cache-size", type=click.IntRange(1), metavar="BYTES", help="Maximum size of the cache.")
@click.option("--namespace", default="", help="Namespace of the pod; cache entries are not shared between namespaces.")
@click.option(
    "--public-key", metavar="PEM", help="Ed25519 public key, or a file with it; the model must be signed by it."
)
@click.option(
    "--release",
    help="Triton's release or image, which must be able to load the graph. Unset or unknown: not checked. If it has a"
    " latency histogram, the model's configuration sets the buckets.",
)
@click.option(
    "--p99",
    type=SECONDS,
    help="Latency objective, such as 20ms, that the buckets are centred on. Unset: 0.5 ms to 2 s.",
)
@click.option(
    "--development-server",
    is_flag=True,
    envvar=Variable.DEVELOPMENT_SERVER,
    help="The node runs the development server, whatever --release says.",
)
@click.option(
    "--simulated-gpus",
    is_flag=True,
    envvar=Variable.SIMULATED_GPUS,
    help="The node's GPUs are simulated: use CPU instances, since Triton refuses GPU instances without a GPU.",
)
def fetch(
    root: str | None,
    path: str | None,
    source: str | None,
    digest: str,
    given_samples: str | None,
    samples_digest: str | None,
    into: Path,
    model_name: str,
    given: str,
    gpus: int,
    folder: Path | None,
    cache_size: int | None,
    namespace: str,
    public_key: str | None,
    release: str | None,
    p99: float | None,
    development_server: bool,
    simulated_gpus: bool,
) -> None:
    """Fetch a version, verify every byte of it and write its Triton model repository."""
    from trainserve.api.latency_buckets import triton_bounds
    from trainserve.api.triton_releases import has_histogram
    from trainserve.serving.pod.fetch import Samples, fetch_model
    from trainserve.serving.repository.settings import InvalidSettings, Settings
    from trainserve.serving.sources import releases
    from trainserve.serving.sources.cache import BYTES, NodeCache
    from trainserve.store.signing import InvalidKey, PublicKey

    address = source or _version_address(root, path)
    try:
        key = _key(public_key, PublicKey) if public_key else None
    except InvalidKey as error:
        raise click.BadParameter(str(error), param_hint="--public-key") from None
    try:
        settings = Settings.of_json(given)
    except InvalidSettings as error:
        raise click.BadParameter(str(error), param_hint="--settings") from None
    gpus = 0 if simulated_gpus else gpus
    cache = NodeCache(folder, cache_size or BYTES, namespace=namespace) if folder else None
    if development_server:
        release = releases.DEVELOPMENT
    buckets = triton_bounds(p99) if has_histogram(release) else ()
    known = release if release and releases.is_known(release) else None
    samples = Samples(given_samples, samples_digest) if given_samples else None
    outcome = fetch_model(
        address,
        digest,
        into,
        model_name,
        settings,
        gpus,
        cache=cache,
        key=key,
        release=known,
        buckets=buckets,
        samples=samples,
        version=None if path is None else _version(path),
    )
    _end(outcome)


@main.command()
@click.option("--store", "root", required=True, help="The store's root as mounted here, or its s3:// URL.")
@click.option("--public-root", required=True, help="The store's root for addresses outside this pod.")
@click.option("--namespace", required=True, help="Namespace of the model.")
@click.option("--model", required=True, help="Name of the model in the store.")
@click.option("--version", type=click.IntRange(1), help="Version number. Unset: the newest.")
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=0.0,
    metavar="SECONDS",
    help="How long to wait for a version if there is none.",
)
def resolve(root: str, public_root: str, namespace: str, model: str, version: int | None, wait: float) -> None:
    """Find a version of a model, and report its address and digest."""
    from trainserve.serving.pod.resolve import resolve as run

    outcome = run(root, public_root, namespace, model, version, wait)
    _end(outcome)


@main.command()
@click.option("--version", required=True, type=click.Path(path_type=Path), help="Folder of the fetched version.")
@click.option("--model-name", required=True, help="Name under which Triton serves the model.")
@click.option("--url", required=True, help="<host>:<port> of Triton's HTTP endpoint.")
@click.option("--listen", required=True, help="<host>:<port> for /readyz, /livez, /report and /metrics.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="Maximum number of recorded samples to send.",
)
@click.option(
    "--dead-file", "dead", type=click.Path(path_type=Path), help="File that exists while the server is not alive."
)
@click.option(
    "--given", type=click.Path(path_type=Path), help="Real inputs for a lone .onnx file, as written by fetch --samples."
)
@click.option("--ensemble", is_flag=True, help="Also verify <model-name>-ensemble.")
@click.option(
    "--cache", "folder", type=click.Path(path_type=Path), help="Folder of the node's model cache, to export metrics of."
)
@click.option("--cache-size", type=click.IntRange(1), metavar="BYTES", help="Maximum size of the cache.")
@click.option("--tuning", type=click.Path(path_type=Path), help="Result of trainserve tune, to export metrics of.")
@click.option("--p99", type=SECONDS, help="Latency objective, such as 20ms, that the histogram buckets are centred on.")
def probe(
    version: Path,
    model_name: str,
    url: str,
    listen: str,
    samples: int,
    dead: Path | None,
    given: Path | None,
    ensemble: bool,
    folder: Path | None,
    cache_size: int | None,
    tuning: Path | None,
    p99: float | None,
) -> None:
    """Verify a server with the version's recorded samples, and keep checking that it is alive."""
    from trainserve.api.latency_buckets import bounds
    from trainserve.serving.pod import endpoints
    from trainserve.serving.pod.collectors import CacheMetrics, TuneMetrics
    from trainserve.serving.pod.probe import Probe
    from trainserve.serving.repository.unbatched import Beside
    from trainserve.serving.samples.recorded import Recorded
    from trainserve.serving.sources.cache import BYTES, NodeCache
    from trainserve.serving.verification.batching_trial import Company
    from trainserve.serving.verification.user_samples import Given
    from trainserve.store import StoreError
    from trainserve.store.names import MANIFEST

    try:
        recorded = Recorded.load(version, samples) if (version / MANIFEST).exists() else None
        real = Given.left(given, samples) if given is not None else None
    except (OSError, ValueError, StoreError) as error:
        raise click.ClickException(f"cannot read {version}: {error}") from error
    host, port = _address("--url", url)
    around = _around(version, model_name, recorded) if ensemble else None
    company = Company(Beside(version.parent))
    made = Probe(host, port, model_name, recorded or real, around, bounds(p99), company)
    if folder:
        made.metrics.registry.register(CacheMetrics(NodeCache(folder, cache_size or BYTES)))
    if tuning:
        made.metrics.registry.register(TuneMetrics(tuning))
    endpoints.serve(made, *_address("--listen", listen), dead)


@main.command()
@click.option("--version", required=True, type=click.Path(path_type=Path), help="Folder of the fetched model.")
@click.option("--repository", required=True, type=click.Path(path_type=Path), help="Model repository of the server.")
@click.option("--url", required=True, help="<host>:<port> of that server; it must be in explicit model control mode.")
@click.option("--p99", required=True, help="Latency objective, such as 20ms.")
@click.option("--settings", "given", default="{}", metavar="JSON", help="As a ModelServe's spec.triton.")
@click.option("--cores", type=click.IntRange(1), help="CPU cores of the server's container. Unset: those of the node.")
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help="GPUs the pod requested.")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1),
    default=4.0,
    show_default=True,
    help="Approximate duration of the measurements.",
)
@click.option("--simulated-gpus", is_flag=True, envvar=Variable.SIMULATED_GPUS, help="As for fetch.")
@click.option("--pod-uid", envvar=Variable.POD_UID, help="Key of the server's control endpoint. Unset: it needs none.")
def tune(
    version: Path,
    repository: Path,
    url: str,
    p99: str,
    given: str,
    cores: int | None,
    gpus: int,
    minutes: float,
    simulated_gpus: bool,
    pod_uid: str | None,
) -> None:
    """Measure which settings meet a latency objective, on the server in the pod's other container."""
    from trainserve.api.scalars.duration import microseconds
    from trainserve.serving.repository.settings import InvalidSettings, Settings
    from trainserve.serving.tune.pod import run

    try:
        settings, p99_ms = Settings.of_json(given), microseconds(p99) / 1e3
    except InvalidSettings as error:
        raise click.BadParameter(str(error), param_hint="--settings") from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--p99") from None
    gpus = 0 if simulated_gpus else gpus
    outcome = run(url, repository, version, p99_ms, minutes * 60, settings, cores, gpus, pod_uid)
    _end(outcome)


def _end(outcome: messages.Fetched | messages.Resolved | messages.Tuned | messages.Failed) -> NoReturn:
    """Leave `outcome` as the termination message, without values of Secrets, print it, and exit."""
    from trainserve.api import messages
    from trainserve.store.masking import masked

    line = messages.encoded(outcome, masked)
    print(line, flush=True)
    messages.leave(line)
    sys.exit(outcome.outcome == "Failed")


def _around(version: Path, model: str, recorded: Recorded | None) -> dict[str, Recorded]:
    """Return the samples of the ensemble around a version's model; empty if its own samples do not determine them."""
    from trainserve.serving.samples.ensemble_samples import around
    from trainserve.serving.sources.servable import Servable

    return around(model, Servable.of_version(version), recorded) if recorded else {}


def _version_address(root: str | None, path: str | None) -> str:
    if root is None or path is None:
        raise click.UsageError("give either --store and --path, or --source")
    _version(path)
    return f"{root.rstrip('/')}/{path}"


def _version(path: str) -> tuple[str, str, int]:
    parts = path.split("/")
    if len(parts) != 3 or not parts[2].isdecimal():
        raise click.BadParameter(f"{path!r} is not <namespace>/<model>/<version>", param_hint="--path")
    return parts[0], parts[1], int(parts[2])


def _key(given: str, of: type[PublicKey]) -> PublicKey:
    """Read a public key: a manifest holds the key itself, a person has it in a file."""
    return of.of(given.encode(), "--public-key") if given.startswith("-----") else of.load(Path(given))


def _address(option: str, value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal():
        raise click.BadParameter(f"{value!r} is not <host>:<port>", param_hint=option)
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main(prog_name="python -m trainserve.serving")
