"""A version as the serving code sees it."""

from pathlib import Path

from tests.serving.versions import publish_convnet
from trainserve import store
from trainserve.serving.sources.cache import NodeCache
from trainserve.serving.sources.source import open_servable
from trainserve.store import ManifestDraft


def test_a_versions_report_comes_along_checked_and_is_no_part_of_the_model(tmp_path: Path) -> None:
    plain = publish_convnet(tmp_path / "store", tmp_path / "work").manifest
    draft = ManifestDraft(**{name: getattr(plain, name) for name in ManifestDraft.model_fields})
    (tmp_path / "work/report.html").write_text("<p>a report")
    files = {name: tmp_path / "work" / name for name in (*plain.files, store.REPORT)}
    published = store.publish(tmp_path / "store", "default", "digits", files, draft)
    model = open_servable(published.uri, cache=NodeCache(tmp_path / "cache"), digest=published.digest)
    assert (model.folder / "report.html").read_text() == "<p>a report"
    assert model.files == ("model.onnx",)
