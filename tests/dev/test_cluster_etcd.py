"""The development cluster's etcd: data that it cannot read."""

from __future__ import annotations

import base64
import os
import subprocess
import zlib
from pathlib import Path

import pytest

from trainserve.dev import binaries, etcd_data
from trainserve.dev.cluster import Cluster
from trainserve.dev.run import ClusterError

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(os.environ.get("KUBECONFIG")), reason="KUBECONFIG names a cluster; none is started"),
]


def test_a_component_that_cannot_start_is_named_with_its_log(other: Cluster) -> None:
    torn = other.layout.etcd / "member" / "snap" / "db"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"not a database")
    with pytest.raises(ClusterError, match=rf"etcd ended before it was ready: .+ \(see {other.layout.log('etcd')}\)"):
        other.up("etcd")


WRITTEN_BY_ETCD_3_5 = (
    "eNpjYQCDFg4WATBDDsJv4mAUmH3463d+KRGO53PX71m3cNXuGIE1rxt/9m08sD2YgYEPpo5V4OPZi1v4pVg4GEAm5ELEmzmYBO61"
    "tO/ikkoGmsQowagUDZKXgJul5F2tlJmiZGVmZmZkZmlhamZsYGJgZmlsaWmoo1SQmloUGuRTrGQVrZRRUlJgpa9vaGSuZwCEhlbG"
    "xsYWBkqxOkp5ibmpSlZKFUq1QAshrmdg4GAW6F56rZFZig1oL4MEIz9EuBHonjNPvwoAhRkEmCSYGGZCxNuB4j9eTX3JJtXHCJZh"
    "Vmpl5Gh8d/388qMvPp9jFGIOCA2RUtM30M9NzU1KLSrWN002N0u0NEhMNbdISk5NNddPLCkpykwqLUktVjKpRjhKRyk5JzM1rwSf"
    "P8wtlWJrNRiMGCwYPBgCGCIYEhgyGAoYKhgaGKHeYZBA+Ov7lP52Fik+oIvhoSjB7AOLPyaBWYenbuSXcgJ7g0XJiqMFzRdcQF+U"
    "Ab2QmZ+nxGqsZ6pngMdqJHv3z7mwmgnNXhYAdHWQ+A=="
)
"""The log of an etcd 3.5.16 that was started and stopped, compressed with zlib, in base64; it has no snapshot."""


def test_data_of_a_newer_etcd_are_told_with_what_to_do(other: Cluster) -> None:
    printed = subprocess.run([binaries.prepare().etcd, "--version"], capture_output=True, text=True, check=True).stdout
    own = printed.split()[2]
    if tuple(map(int, own.split(".")[:2])) >= (3, 5):
        pytest.skip(f"etcd {own} reads what 3.5 wrote")
    log = other.layout.etcd / "member" / "wal" / f"{16 * '0'}-{16 * '0'}.wal"
    log.parent.mkdir(parents=True)
    (other.layout.etcd / "member" / "snap").mkdir()
    log.write_bytes(zlib.decompress(base64.b64decode(WRITTEN_BY_ETCD_3_5)))
    with pytest.raises(ClusterError) as told:
        other.up("etcd")
    data = other.layout.etcd
    assert str(told.value).startswith(f"etcd 3.5 has written the data in {data}, and ")
    assert f"is etcd {own}, which does not read what a newer one wrote. Put etcd 3.5 or newer on PATH" in str(
        told.value
    )
    assert f"remove {data} (see {other.layout.log('etcd')})" in str(told.value)


@pytest.mark.parametrize(
    ("line", "versions"),
    [
        (
            '{"level":"fatal","ts":"2026-11-30T03:22:53.833Z","caller":"membership/cluster.go:795","msg":"invalid '
            'downgrade; server version is lower than determined cluster version","current-server-version":"3.5.16",'
            '"determined-cluster-version":"3.6","stacktrace":"go.etcd.io/etcd"}',
            ("3.6", "3.5.16"),
        ),
        (
            "2017-10-16 21:07:10.975303 C | membership: cluster cannot be downgraded (current version: 3.0.17 is lower "
            "than determined cluster version: 3.1).",
            ("3.1", "3.0.17"),
        ),
        ('{"level":"fatal","msg":"discovery failed","error":"listen tcp 127.0.0.1:33380: bind"}', None),
    ],
)
def test_only_etcds_words_of_newer_data_are_explained(line: str, versions: tuple[str, str] | None) -> None:
    said = etcd_data.explained(line, "/usr/bin/etcd", Path("/data"))
    if versions is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(
            f"etcd {versions[0]} has written the data in /data, and /usr/bin/etcd is etcd {versions[1]}"
        )
