"""Numbers, address ranges and ports of clusters side by side."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from trainserve.dev import addresses, state
from trainserve.dev.addresses import Addresses, AddressesUnavailable, block, claim, is_free, moved


def all_free(port: int) -> bool:
    return True


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir()
    return made


def test_clusters_side_by_side_share_no_address_and_no_port(tmp_path: Path) -> None:
    register = tmp_path / "clusters.json"
    clusters = [claim(register, folder(tmp_path, name), None, all_free) for name in "abc"]
    for one in clusters:
        for other in clusters:
            if one is not other:
                assert not one.services.overlaps(other.services)
                assert not one.pods.overlaps(other.pods)
                assert not set(one.ports.values()) & set(other.ports.values())


@pytest.mark.parametrize(
    ("number", "services", "pods", "kubernetes"),
    [
        (0, "127.96.0.0/20", "127.64.0.0/20", "127.96.0.1"),
        (1, "127.96.16.0/20", "127.64.16.0/20", "127.96.16.1"),
        (255, "127.111.240.0/20", "127.79.240.0/20", "127.111.240.1"),
    ],
)
def test_every_number_has_its_ranges_on_loopback(number: int, services: str, pods: str, kubernetes: str) -> None:
    own = Addresses(number, block(number))
    assert (str(own.services), str(own.pods), own.kubernetes_service) == (services, pods, kubernetes)


def test_ports_are_below_those_of_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(block(addresses.CLUSTERS - 1).values()) < first


def test_a_cluster_keeps_its_number(tmp_path: Path) -> None:
    register, own = tmp_path / "clusters.json", folder(tmp_path, "a")
    first = claim(register, own, None, all_free)
    claim(register, folder(tmp_path, "b"), None, all_free)
    assert claim(register, own, first.number, all_free) == first


def test_a_kill_before_the_number_was_written_down_loses_no_number(tmp_path: Path) -> None:
    register, own = tmp_path / "clusters.json", folder(tmp_path, "a")
    assert claim(register, own, None, all_free) == claim(register, own, None, all_free)


def test_the_number_of_a_removed_folder_is_free_again(tmp_path: Path) -> None:
    register, gone = tmp_path / "clusters.json", folder(tmp_path, "gone")
    first = claim(register, gone, None, all_free)
    gone.rmdir()
    assert claim(register, folder(tmp_path, "next"), None, all_free).number == first.number


def test_a_number_with_a_port_in_use_is_passed_over(tmp_path: Path) -> None:
    busy = block(0)["scheduler"]
    assert claim(tmp_path / "clusters.json", folder(tmp_path, "a"), None, lambda port: port != busy).number == 1


def test_a_copied_cluster_is_refused_by_both_names(tmp_path: Path) -> None:
    register, original, copy = tmp_path / "clusters.json", folder(tmp_path, "original"), folder(tmp_path, "copy")
    number = claim(register, original, None, all_free).number
    with pytest.raises(AddressesUnavailable, match=r"copy was cluster 0, which is now .*original"):
        claim(register, copy, number, all_free)


def test_when_all_numbers_are_taken_the_message_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AddressesUnavailable, match=r"all 256 clusters of .* are taken: remove"):
        claim(tmp_path / "clusters.json", folder(tmp_path, "a"), None, lambda port: False)


def test_the_register_names_every_clusters_folder(tmp_path: Path) -> None:
    register = tmp_path / "clusters.json"
    for name in "ab":
        claim(register, folder(tmp_path, name), None, all_free)
    assert json.loads(register.read_text()) == {"0": str(tmp_path / "a"), "1": str(tmp_path / "b")}


def test_only_the_taken_ports_move() -> None:
    before = Addresses(0, block(0))
    after = moved(before, {"apiserver"}, all_free)
    assert {name for name in before.ports if before.ports[name] != after.ports[name]} == {"apiserver"}
    assert len(set(after.ports.values())) == len(after.ports)
    assert after.services == before.services


def test_a_port_is_free_until_someone_listens_on_it() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        server.listen()
        assert not is_free(port)
    assert is_free(port)


def test_a_cluster_of_an_earlier_release_gets_ports_for_what_came_later(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    state.save(path, state.State(Addresses(3, block(3))))
    content = json.loads(path.read_text())
    del content["ports"]["prometheus"]
    content["ports"]["apiserver"] = 31000
    path.write_text(json.dumps(content))
    loaded = state.load(path)
    assert loaded is not None
    assert loaded.addresses.ports == {**block(3), "apiserver": 31000}


def test_the_ports_of_earlier_releases_keep_their_place() -> None:
    earlier = ("etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler", "scheduler-plain", "kubelet")
    assert addresses.PORTS[: len(earlier)] == earlier
    assert len(addresses.PORTS) <= addresses.BLOCK
