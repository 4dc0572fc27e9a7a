"""docs/metrics.md against what a running server, a probe, the operator and a training pod really export."""

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
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving import faulty
from trainserve.models import metrics as training
from trainserve.models.progress import Progress
from trainserve.operator import metrics as operator
from trainserve.operator.cache import Cache
from trainserve.serving.cache import NodeCache
from trainserve.serving.collectors import CacheMetrics, TuneMetrics
from trainserve.serving.infer import InferenceError
from trainserve.serving.probe import Probe
from trainserve.serving.recorded import Recorded
from trainserve.serving.server import DevelopmentServer
from trainserve.serving.verification import connector

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<kind>\w+)(?P<more>[^|]*)\|", re.MULTILINE)
DOCUMENTED = {found["name"]: (found["kind"], "GPU only" in found["more"]) for found in ROW.finditer(PAGE)}
QUERIES = re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)
TUNED = {
    "objective": {"p99_ms": 20.0, "rate": None, "callers": None, "margin": 0.1},
    "choice": {"name": "b8", "rate": 900.0, "p99_ms": 15.5, "holds": True},
    "settings": {"instances": 2, "threads": 1, "dynamicBatching": {"maxBatch": 8, "maxQueueDelay": "500us"}},
}


@dataclass(frozen=True)
class Family:
    """One exported metric: its name as scraped, its kind, the names of its samples."""

    kind: str
    samples: frozenset[str]


def families(text: str) -> dict[str, Family]:
    """By the name that the page has them under: counters of the Python client end with _total."""
    found = {}
    for family in text_string_to_metric_families(text):
        total = family.type == "counter" and f"# TYPE {family.name}_total " in text
        samples = frozenset(sample.name for sample in family.samples)
        if not family.name.endswith("_created"):
            found[f"{family.name}_total" if total else family.name] = Family(family.type, samples)
    return found


def of_triton(server: DevelopmentServer) -> str:
    with urllib.request.urlopen(server.metrics_url) as response:
        return response.read().decode()


@pytest.fixture(scope="module")
def server(command: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevelopmentServer]:
    """A server that exports all it can: two models, one with a response cache, and summaries."""
    repository = tmp_path_factory.mktemp("repository")
    right = faulty.network()
    faulty.place(repository, "plain", right.SerializeToString())
    faulty.place(repository, "cached", right.SerializeToString())
    faulty.place(repository, "failing", faulty.failing(right).SerializeToString())
    with (repository / "cached" / "config.pbtxt").open("a") as config:
        config.write("response_cache { enable: true }\n")
    flags = ("--disable-auto-complete-config", "--cache-config=local,size=1048576")
    log = tmp_path_factory.mktemp("server") / "log"
    running = DevelopmentServer(command, repository, log, *flags, "--metrics-config=summary_latencies=true")
    running.start()
    yield running
    running.kill()


@pytest.fixture
def ask(server: DevelopmentServer) -> Callable[..., None]:
    """Sends one request of some rows to a model of the server."""

    def send(model: str, rows: int = 1) -> None:
        connection = connector("http", server.url, model, ["probabilities"], 20)()
        try:
            connection.infer({"images": faulty.images(rows)})
        finally:
            connection.close()

    return send


@pytest.fixture
def exported(server: DevelopmentServer, ask: Callable[..., None], tmp_path: Path) -> dict[str, Family]:
    """All that anything of this project exports here."""
    for model in ("plain", "cached", "cached"):
        ask(model)
    (tmp_path / "tuned.json").write_text(json.dumps(TUNED))
    (tmp_path / "cache").mkdir()
    images = {"images": faulty.images(1)}
    probe = Probe("127.0.0.1", server.http_port, "plain", Recorded(images, faulty.answered(images), 1e-3, 1e-5))
    probe.verify()
    probe.metrics.registry.register(CacheMetrics(NodeCache(tmp_path / "cache")))
    probe.metrics.registry.register(TuneMetrics(tmp_path / "tuned.json"))
    cluster = Cache()
    for kind in ("TrainJob", "ModelServe"):
        cluster.put(kind, {"metadata": {"namespace": "a", "name": "b", "uid": "c"}, "status": {"phase": "Ready"}})
    run = Progress()
    run.update(epoch=1, loss=0.5, accuracy=0.9, samples_per_second=10.0, eta_seconds=5.0, step=3, samples=30)
    texts = [
        of_triton(server),
        generate_latest(probe.metrics.registry).decode(),
        generate_latest(operator.Metrics(cluster).registry).decode(),
        training.render(run).decode(),
    ]
    return {name: family for text in texts for name, family in families(text).items()}


def test_every_exported_metric_is_on_the_page_with_its_kind(exported: dict[str, Family]) -> None:
    named = {name: DOCUMENTED.get(name, ("not on the page", False))[0] for name in exported}
    assert named == {name: family.kind for name, family in exported.items()}


def test_everything_on_the_page_is_exported_or_needs_a_gpu(exported: dict[str, Family]) -> None:
    assert {name for name, (_, gpu) in DOCUMENTED.items() if not gpu} == set(exported)


def test_every_query_is_valid_and_speaks_of_metrics_on_the_page(exported: dict[str, Family]) -> None:
    assert len(QUERIES) > 15
    for query in QUERIES:
        promql_parser.parse(query)  # raises ValueError, for wrong types too
        names = set(re.findall(r"\b(?:nv|trainserve)_\w+", query))
        known = {sample for family in exported.values() for sample in family.samples} | set(DOCUMENTED)
        assert names <= known, query


def test_rates_are_of_counters_and_quantiles_of_buckets(exported: dict[str, Family]) -> None:
    rising = {name for name, (kind, _) in DOCUMENTED.items() if kind == "counter"}
    for name, family in exported.items():
        if family.kind in ("histogram", "summary"):
            rising |= {sample for sample in family.samples if sample != name}
    for query in QUERIES:
        assert set(re.findall(r"(?:rate|increase)\((\w+)", query)) <= rising, query
        assert ("histogram_quantile" in query) == ("_bucket" in query), query


def test_every_row_says_what_the_figure_is(exported: dict[str, Family]) -> None:
    for line in PAGE.splitlines():
        if ROW.match(line):
            _, name, kind, meaning, *_ = line.split("|")
            assert len(meaning.strip()) > 15, name
            assert kind.strip(), name


def test_our_help_texts_are_sentences(exported: dict[str, Family], server: DevelopmentServer) -> None:
    texts = [generate_latest(Probe("h", 1, "m", None).metrics.registry), training.render(Progress())]
    for text in texts:
        for line in text.decode().splitlines():
            if line.startswith("# HELP"):
                assert line.endswith("."), line


def counts(server: DevelopmentServer, model: str, *names: str) -> list[float]:
    """Of one model, over all its labels."""
    lines = [line for line in of_triton(server).splitlines() if f'"{model}"' in line]
    return [sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"{name}{{")) for name in names]


def risen(server: DevelopmentServer, model: str, before: list[float], expected: list[float], *names: str) -> None:
    """Waits until the counts have risen as expected: an answer is sent before it is counted."""
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
