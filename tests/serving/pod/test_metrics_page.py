"""docs/metrics.md matches what a running server, a probe, the operator and a training pod export."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import promql_parser
import pytest
from click.testing import CliRunner
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.operator.metrics_support import cached, job, serve
from tests.serving import faulty
from trainserve.api import metrics
from trainserve.api.metrics import triton
from trainserve.api.metrics.definition import Metric
from trainserve.api.metrics.triton.latencies import HISTOGRAM
from trainserve.dev.metrics_page import page
from trainserve.dev.metrics_page.__main__ import main
from trainserve.models import metrics as training
from trainserve.models.progress import Progress
from trainserve.operator import metrics as operator
from trainserve.operator.writes import Write
from trainserve.serving.devserver.server import DevelopmentServer
from trainserve.serving.pod.collectors import CacheMetrics, TuneMetrics
from trainserve.serving.pod.probe import Probe
from trainserve.serving.protocol.connection import connector
from trainserve.serving.protocol.infer import InferenceError
from trainserve.serving.samples.recorded import Recorded
from trainserve.serving.sources.cache import NodeCache

PAGE = page.PATH.read_text()
ENTRY = re.compile(r"^- `(?P<name>\w+)` · \*(?P<kind>\w+)(?P<more>[^*]*)\*\\$", re.MULTILINE)
DOCUMENTED = {found["name"]: found for found in ENTRY.finditer(PAGE)}
KINDS = {name: found["kind"] for name, found in DOCUMENTED.items()}
DEFINED = {metric.name: metric for group in (*triton.GROUPS, *metrics.GROUPS) for metric in group.metrics}
QUERIES = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
DEVELOPMENT_RELEASE = "24.10"
OF_THE_TARGET = {"namespace", "pod", "node", "trainjob", "modelserve", "model", "version", "attempt"}
"""Labels added by the scrape (docs/contracts.md), in addition to a metric's own."""
TUNED = {
    "objective": {"p99_ms": 20.0, "rate": None, "callers": None, "margin": 0.1},
    "choice": {"name": "b8", "rate": 900.0, "p99_ms": 15.5, "holds": True},
    "settings": {"instances": 2, "threads": 1, "dynamicBatching": {"maxBatch": 8, "maxQueueDelay": "500us"}},
}


def scraped_here(metric: Metric) -> bool:
    """Return whether the metric exists on this machine and in the development server's release."""
    return metric.only != "GPU" and metric.since <= DEVELOPMENT_RELEASE


@dataclass(frozen=True)
class Family:
    """One exported metric family: its kind and help, its sample names, and their labels."""

    kind: str
    help: str
    samples: frozenset[str]
    labels: frozenset[str]


def families(text: str) -> dict[str, Family]:
    """Parse an exposition; the keys are the names on the page: counters of the Python client end with _total."""
    found = {}
    for family in text_string_to_metric_families(text):
        total = family.type == "counter" and f"# TYPE {family.name}_total " in text
        samples = frozenset(sample.name for sample in family.samples)
        labels = frozenset(label for sample in family.samples for label in sample.labels)
        labels -= {"histogram": {"le"}, "summary": {"quantile"}}.get(family.type, set())
        if samples and not family.name.endswith("_created"):
            name = f"{family.name}_total" if total else family.name
            found[name] = Family(family.type, family.documentation, samples, labels)
    return found


def of_triton(server: DevelopmentServer) -> str:
    with urllib.request.urlopen(server.metrics_url) as response:
        return response.read().decode()


@pytest.fixture(scope="module")
def server(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentServer]:
    """A server that exports every metric it can: with models, one of them with a response cache, with summaries, and
    with the flag for the histogram, which this release lacks."""
    repository = tmp_path_factory.mktemp("repository")
    right = faulty.network()
    faulty.place(repository, "plain", right.SerializeToString())
    faulty.place(repository, "cached", right.SerializeToString())
    faulty.place(repository, "failing", faulty.failing(right).SerializeToString())
    with (repository / "cached" / "config.pbtxt").open("a") as config:
        config.write("response_cache { enable: true }\n")
    flags = ["--disable-auto-complete-config", "--cache-config=local,size=1048576"]
    flags += ["--metrics-config=summary_latencies=true", "--metrics-config=histogram_latencies=true"]
    log = tmp_path_factory.mktemp("server") / "log"
    running = DevelopmentServer(command, repository, log, *flags)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def ask(server: DevelopmentServer) -> Callable[..., None]:
    """Return a function that sends one request of `rows` rows to a model of the server."""

    def send(model: str, rows: int = 1) -> None:
        connection = connector("http", server.url, model, ["probabilities"], 20)()
        try:
            connection.infer({"images": faulty.images(rows)})
        finally:
            connection.close()

    return send


@pytest.fixture
def exported(server: DevelopmentServer, ask: Callable[..., None], tmp_path: Path) -> dict[str, Family]:
    """Return every metric family that the project's components export on this machine."""
    for model in ("plain", "cached", "cached"):
        ask(model)
    (tmp_path / "tuned.json").write_text(json.dumps(TUNED))
    (tmp_path / "cache").mkdir()
    images = {"images": faulty.images(1)}
    probe = Probe("127.0.0.1", server.http_port, "plain", Recorded(images, faulty.answered(images), 1e-3, 1e-5))
    probe.verify()
    probe.metrics.registry.register(CacheMetrics(NodeCache(tmp_path / "cache")))
    probe.metrics.registry.register(TuneMetrics(tmp_path / "tuned.json"))
    counted = operator.Metrics(cached(job(), serve()))
    counted.wrote(Write("patch", "TrainJob", "default", "digits", True), "200")
    run = Progress()
    run.update(epoch=1, epochs=2, loss=0.5, accuracy=0.9, samples_per_second=10.0, eta_seconds=5.0, step=3, samples=30)
    run.update(checkpoint=1.8e9)
    texts = [
        of_triton(server),
        generate_latest(probe.metrics.registry).decode(),
        generate_latest(counted.registry).decode(),
        training.render(run).decode(),
    ]
    return {name: family for text in texts for name, family in families(text).items()}


def test_the_page_is_what_the_code_makes(tmp_path: Path) -> None:
    assert page.page() == PAGE, "run `make docs`"
    copy = tmp_path / "metrics.md"
    copy.write_text(f"{PAGE}more")
    checked = CliRunner().invoke(main, [str(copy), "--check"])
    assert (checked.exit_code, "is not what the code makes; run `make docs`" in checked.output) == (1, True)
    assert CliRunner().invoke(main, [str(copy)]).exit_code == 0
    assert CliRunner().invoke(main, [str(copy), "--check"]).exit_code == 0


def test_its_lines_are_short_enough_to_be_read_as_they_are() -> None:
    assert max(map(len, PAGE.splitlines())) <= 120
    assert set(DOCUMENTED) == set(DEFINED)


def test_every_exported_metric_is_on_the_page_with_its_kind(exported: dict[str, Family]) -> None:
    named = {name: KINDS.get(name, "not on the page") for name in exported}
    assert named == {name: family.kind for name, family in exported.items()}


def test_everything_on_the_page_is_exported_or_needs_a_gpu_or_a_newer_triton(exported: dict[str, Family]) -> None:
    assert {name for name in DOCUMENTED if scraped_here(DEFINED[name])} == set(exported)


def test_labels_are_those_that_the_page_tells(exported: dict[str, Family]) -> None:
    told = {name: set(re.findall(r"`(\w+)`", DOCUMENTED[name]["more"])) - {"summary_latencies"} for name in exported}
    assert told == {name: set(family.labels) for name, family in exported.items()}


def test_a_release_and_a_need_are_told_where_there_is_one() -> None:
    histogram = " ".join(DOCUMENTED["nv_inference_first_response_histogram_ms"]["more"].split())
    assert histogram.endswith("`histogram_latencies` only, since 26.01")
    assert DOCUMENTED["nv_energy_consumption"]["more"].endswith("GPU only")
    assert "only" not in DOCUMENTED["nv_inference_count"]["more"]


def test_our_help_texts_are_those_of_the_page_and_sentences(exported: dict[str, Family]) -> None:
    for name, family in exported.items():
        if name in metrics.METRICS:
            assert family.help == DEFINED[name].help
            assert family.help.endswith("."), name


def test_every_query_is_valid_and_speaks_of_metrics_on_the_page_and_labels_that_they_have(
    exported: dict[str, Family],
) -> None:
    assert len(QUERIES) > 25
    suffixed = {f"{name}{suffix}" for name in DOCUMENTED for suffix in ("_bucket", "_sum", "_count")}
    known = {sample for family in exported.values() for sample in family.samples} | set(DOCUMENTED) | suffixed
    for query in QUERIES:
        promql_parser.parse(query)  # raises ValueError, also for type errors
        names = set(re.findall(r"\b(?:nv|trainserve)_\w+", query)) - {HISTOGRAM}  # occurs as a label's value
        assert names <= known, query
        own = {label for name, metric in DEFINED.items() if name in query for label in metric.labels}
        listed = re.findall(r"(?:by|on|ignoring|without) \(([^)]*)\)", query)
        labels = {label.strip() for each in listed for label in each.split(",")} - {"le", ""}
        assert labels <= own | OF_THE_TARGET, query


def test_rates_are_of_counters_and_quantiles_of_buckets() -> None:
    rising = {name for name, kind in KINDS.items() if kind == "counter"}
    parts = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
    rising |= {f"{name}{suffix}" for name, kind in KINDS.items() for suffix in parts.get(kind, ())}
    for query in QUERIES:
        assert set(re.findall(r"(?:rate|increase)\((\w+)", query)) <= rising, query
        assert "histogram_quantile" not in query or "_bucket" in query, query


def test_every_entry_says_what_the_figure_is_and_how_it_is_read() -> None:
    for metric in DEFINED.values():
        assert len(metric.help) > 15, metric.name
        assert metric.use.endswith((".", "?")), metric.name


def counts(server: DevelopmentServer, model: str, *names: str) -> list[float]:
    """Return each counter's sum over all label values of one model."""
    lines = [line for line in of_triton(server).splitlines() if f'"{model}"' in line]
    return [sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{")) for name in names]


def risen(server: DevelopmentServer, model: str, before: list[float], expected: list[float], *names: str) -> None:
    """Wait until the counters have grown by `expected`: the server answers a request before it counts it."""
    deadline = time.monotonic() + 10
    while (found := [now - then for now, then in zip(counts(server, model, *names), before, strict=True)]) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_a_request_that_the_model_failed_is_counted_as_a_failure_as_the_page_says(
    server: DevelopmentServer, ask: Callable[..., None]
) -> None:
    names = "nv_inference_request_success", "nv_inference_request_failure"
    before = counts(server, "failing", *names)
    with pytest.raises(InferenceError, match="500"):
        ask("failing")
    risen(server, "failing", before, [0, 1], *names)


def test_each_request_of_a_batch_counts_as_one_and_its_rows_as_samples(
    server: DevelopmentServer, ask: Callable[..., None]
) -> None:
    names = "nv_inference_request_success", "nv_inference_count", "nv_inference_exec_count"
    before = counts(server, "plain", *names)
    ask("plain", rows=8)
    risen(server, "plain", before, [1, 8, 1], *names)
