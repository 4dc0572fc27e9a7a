"""The cache: never older than what is known, never more than planning reads."""

from __future__ import annotations

from typing import Any

from trainserve.operator import labels
from trainserve.operator.cache import Cache, trim
from trainserve.operator.plan import Object
from trainserve.operator.workqueue import Key

PARENT = Key("TrainJob", "default", "digits")


def pod(revision: int, uid: str = "u", **fields: Any) -> Object:
    named = {"name": "digits-1-0", "namespace": "default", "uid": uid, "resourceVersion": str(revision)}
    return {"metadata": {**named, "labels": {labels.TRAINJOB: "digits"}}, **fields}


def test_an_event_that_is_older_than_what_is_known_is_no_news() -> None:
    cache = Cache()
    assert cache.put("Pod", pod(10))
    assert not cache.put("Pod", pod(9))
    assert not cache.put("Pod", pod(10)), "our own write, coming back through the watch"
    assert cache.put("Pod", pod(100))


def test_an_object_of_the_same_name_made_anew_replaces_the_old_one() -> None:
    cache = Cache()
    cache.put("Pod", pod(10))
    assert cache.put("Pod", pod(11, uid="v"))
    cache.drop("Pod", pod(12))
    assert cache.children(PARENT), "the deletion of the old one came late"


def test_children_are_found_by_the_parent_that_their_label_names() -> None:
    cache = Cache()
    cache.put("Pod", pod(10))
    assert [child["metadata"]["name"] for child in cache.children(PARENT)] == ["digits-1-0"]
    cache.drop("Pod", pod(10))
    assert cache.children(PARENT) == []


def test_only_what_planning_reads_is_kept() -> None:
    whole = pod(1, spec={"containers": ["large"]}, status={"phase": "Running"})
    whole["metadata"] |= {
        "managedFields": ["large"],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "large"},
    }
    assert "large" not in str(trim("Pod", whole))
    assert trim("Pod", whole)["status"] == {"phase": "Running"}
