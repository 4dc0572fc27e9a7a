from pathlib import Path
from typing import Any

from trainserve.dev.agent.hosts import HostsFiles, hostname, own_lines, service_lines, write_in_place


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "web"}}, "spec": spec}


def service(name: str, address: str, namespace: str = "n") -> dict[str, Any]:
    spec = {"clusterIP": address, "selector": {"app": "web"}}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def test_a_service_has_its_short_name_in_its_own_namespace_only() -> None:
    services = [service("web", "127.96.0.9")]
    assert service_lines(services, [], "n") == "127.96.0.9 web web.n web.n.svc web.n.svc.cluster.local\n"
    assert service_lines(services, [], "other") == "127.96.0.9 web.n web.n.svc web.n.svc.cluster.local\n"


def test_a_headless_service_names_its_pods_and_each_by_its_hostname() -> None:
    pods = [(pod("a-0", hostname="w0", subdomain="web"), "127.64.0.1"), (pod("plain"), "127.64.0.2")]
    first, second = service_lines([service("web", "None")], pods, "n").splitlines()
    assert first.split()[:5] == ["127.64.0.1", "w0.web", "w0.web.n", "w0.web.n.svc", "w0.web.n.svc.cluster.local"]
    assert first.split()[5:] == ["web", "web.n", "web.n.svc", "web.n.svc.cluster.local"]
    assert second.split() == ["127.64.0.2", "web", "web.n", "web.n.svc", "web.n.svc.cluster.local"]


def test_a_pod_knows_itself_by_hostname_and_by_name() -> None:
    subject = pod("job-0", hostname="w0", subdomain="web", hostAliases=[{"ip": "10.0.0.1", "hostnames": ["db"]}])
    assert own_lines(subject, "127.64.0.1").splitlines()[2:] == [
        "127.64.0.1 w0.web.n.svc.cluster.local w0 w0.web job-0",
        "10.0.0.1 db",
    ]


def test_a_long_name_is_cut_to_a_host_name() -> None:
    assert hostname(pod("a" * 62 + ".b")) == "a" * 62


def test_a_hosts_file_is_changed_in_place_because_it_is_mounted(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    write_in_place(file, "a long first content\n")
    inode = file.stat().st_ino
    write_in_place(file, "short\n")
    assert (file.read_text(), file.stat().st_ino) == ("short\n", inode)


def test_running_pods_learn_of_new_services_and_ended_ones_are_left_alone(tmp_path: Path) -> None:
    files = HostsFiles()
    files.add(tmp_path / "a", pod("a"), "127.64.0.1", "")
    files.add(tmp_path / "b", pod("b"), "127.64.0.2", "")
    files.remove("b")
    files.update([service("web", "127.96.0.9")], [])
    assert "127.96.0.9 web" in (tmp_path / "a").read_text()
    assert "127.96.0.9 web" not in (tmp_path / "b").read_text()
