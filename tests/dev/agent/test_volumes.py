from pathlib import Path

import pytest

from trainserve.dev.agent.environment import ConfigError
from trainserve.dev.agent.sandbox import Mount
from trainserve.dev.agent.volumes import File, Volumes, container_mounts, object_files, uncovered, write_files

DATA = {"a": b"1", "b": b"2"}


def test_all_keys_become_files_with_the_default_mode() -> None:
    assert object_files({"defaultMode": 0o400}, DATA) == [File("a", b"1", 0o400), File("b", b"2", 0o400)]


def test_items_choose_keys_paths_and_modes() -> None:
    source = {"items": [{"key": "b", "path": "deep/b", "mode": 0o600}]}
    assert object_files(source, DATA) == [File("deep/b", b"2", 0o600)]


def test_an_item_without_its_key_is_refused_unless_optional() -> None:
    with pytest.raises(ConfigError, match="references non-existent key: c"):
        object_files({"items": [{"key": "c", "path": "c"}]}, DATA)
    assert object_files({"items": [{"key": "c", "path": "c"}], "optional": True}, DATA) == []


def test_files_are_replaced_whole_with_their_modes(tmp_path: Path) -> None:
    write_files(tmp_path, [File("deep/token", b"old", 0o600)])
    write_files(tmp_path, [File("deep/token", b"new", 0o600)])
    assert (tmp_path / "deep/token").read_bytes() == b"new"
    assert (tmp_path / "deep/token").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["token"]


def test_mounts_come_outer_paths_first_and_volumes_of_objects_are_read_only(tmp_path: Path) -> None:
    volumes = Volumes({"data": tmp_path, "settings": tmp_path}, frozenset({"settings"}), None)
    mounts = [{"name": "settings", "mountPath": "/srv/deep"}, {"name": "data", "mountPath": "/srv/", "subPath": "x/y"}]
    outer, inner = container_mounts({"volumeMounts": mounts}, volumes, {})
    assert outer == {"source": str(tmp_path / "x/y"), "target": "/srv", "readOnly": False}
    assert inner == {"source": str(tmp_path), "target": "/srv/deep", "readOnly": True}


@pytest.mark.parametrize("sub_path", ["../elsewhere", "/etc", "link/passwd"])
def test_a_sub_path_cannot_leave_its_volume(tmp_path: Path, sub_path: str) -> None:
    (tmp_path / "link").symlink_to("/etc")
    mount = {"name": "data", "mountPath": "/srv", "subPath": sub_path}
    with pytest.raises(ConfigError, match="leads out of its volume"):
        container_mounts({"volumeMounts": [mount]}, Volumes({"data": tmp_path}, frozenset(), None), {})


def test_a_volume_over_a_folder_above_does_not_hide_what_an_image_would_bring() -> None:
    volume = Mount(source="/pods/scratch", target="/srv", readOnly=False)
    folders = [Path("/srv/checkout"), Path("/home/checkout"), Path("/srv")]
    assert uncovered([volume], folders) == [Mount(source="/srv/checkout", target="/srv/checkout", readOnly=True)]
