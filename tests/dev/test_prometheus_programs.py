"""Installation of Prometheus: real files, real folders, Debian's own packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainserve.dev import fetch, prometheus
from trainserve.dev.prometheus import programs


def program(path: Path, prints: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


def test_an_installed_prometheus_with_its_promtool_comes_before_the_cache(tmp_path: Path) -> None:
    for name in programs.PACKAGES:
        program(tmp_path / "bin" / name)
        program(tmp_path / "cache" / "prometheus" / name)
    program(tmp_path / "half" / "prometheus")
    path = f"{tmp_path / 'half'}:{tmp_path / 'bin'}"
    assert programs.prepare(cache=tmp_path / "cache", environment={"PATH": path}) == tmp_path / "bin"
    assert programs.prepare(cache=tmp_path / "cache", environment={}) == tmp_path / "cache" / "prometheus"


def test_where_no_source_serves_the_error_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(prometheus.PrometheusUnavailable, match=r"apt-get is not on PATH.*or put it on PATH"):
        programs.prepare(cache=tmp_path / "cache", environment={})
    with pytest.raises(prometheus.PrometheusUnavailable, match="apt-get is not on PATH"):
        programs.prepare3(cache=tmp_path / "cache")


def test_without_an_archive_of_debian_there_is_no_other_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "apt-get", "Ubuntu http://archive.ubuntu.com/ubuntu/")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(fetch.FetchError, match="no archive of Debian"):
        fetch.release_options(tmp_path / "scratch", "sid")


def test_another_release_is_read_beside_the_machines_own_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "apt-get", "Debian-Security http://a/debian-security/\nDebian http://mirror/debian/")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    options = fetch.release_options(tmp_path / "scratch", "sid")
    assert (tmp_path / "scratch" / "sources.list").read_text().split()[-3:] == ["http://mirror/debian/", "sid", "main"]
    assert f"Dir::Etc::SourceList={tmp_path / 'scratch' / 'sources.list'}" in options
    assert f"Dir::State::Lists={tmp_path / 'scratch' / 'lists'}" in options


def test_a_prometheus_3_that_does_not_run_here_is_told_with_what_it_said(tmp_path: Path) -> None:
    for name in programs.PACKAGES:
        path = program(tmp_path / "prometheus-sid" / name)
        path.write_text("#!/bin/sh\necho 'libc.so.6: version GLIBC_2.99 not found' >&2; exit 1\n")
    with pytest.raises(prometheus.PrometheusUnavailable, match=r"does not run: .*GLIBC_2\.99 not found"):
        programs.prepare3(cache=tmp_path)


def test_another_major_version_is_not_taken_for_prometheus_3(tmp_path: Path) -> None:
    for name in programs.PACKAGES:
        program(tmp_path / "prometheus-sid" / name, f"{name}, version 4.1.0+ds (branch: debian/sid)")
    with pytest.raises(prometheus.PrometheusUnavailable, match=r"has Prometheus 4\.1, not 3"):
        programs.prepare3(cache=tmp_path)


def test_debians_prometheus_and_promtool_run() -> None:
    assert programs.version(prometheus.prometheus()) == programs.version(prometheus.promtool()) >= (2, 42)


def test_the_clusters_prometheus_finds_pods() -> None:
    assert programs.discovers_pods(prometheus.prepare_discovering())


def test_where_the_installed_prometheus_finds_pods_no_other_is_fetched(tmp_path: Path) -> None:
    for name in programs.PACKAGES:
        program(tmp_path / name)
    assert programs.prepare_discovering(cache=tmp_path, environment={"PATH": str(tmp_path)}) == tmp_path


def test_prometheus_3_runs_where_it_is_to_be_had() -> None:
    try:
        found = [prometheus.prometheus3(), prometheus.promtool3()]
    except prometheus.PrometheusUnavailable as error:
        pytest.skip(str(error))
    assert [programs.version(each)[0] for each in found] == [3, 3]
