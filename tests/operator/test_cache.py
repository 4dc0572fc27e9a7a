"""The cache: never older than the newest known state, and holding no more than planning reads."""

from __future__ import annotations

from typing import Any

from trainserve.api import API_VERSION
from trainserve.operator import labels
from trainserve.operator.cache import Cache, drifted, trim
from trainserve.operator.objects import Object
from trainserve.operator.workqueue import Key

PARENT = Key("TrainJob", "default", "digits")
OWNER = {"apiVersion": API_VERSION, "kind": "TrainJob", "name": "digits", "uid": "job-uid", "controller": True}


def pod(revision: int, uid: str = "u", **fields: Any) -> Object:
    named = {"name": "digits-1-0", "namespace": "default", "uid": uid, "resourceVersion": str(revision)}
    return {"metadata": {**named, "ownerReferences": [OWNER]}, **fields}


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


def test_what_was_changed_since_it_was_applied_has_drifted() -> None:
    cache, at = Cache(), ("Deployment", "default", "digits-1-0")

    def deployment(revision: int, generation: int) -> Object:
        made = pod(revision)
        return {"metadata": {**made["metadata"], "generation": generation}, "spec": {}}

    def known() -> Object:
        return cache.get(*at) or {}

    cache.put("Deployment", deployment(1, 1))
    assert drifted(known()), "another process may have applied it"
    cache.put("Deployment", deployment(1, 1), applied=True)
    assert not drifted(known())
    cache.put("Deployment", deployment(2, 1))
    assert not drifted(known()), "its status alone"
    cache.put("Deployment", deployment(3, 2))
    assert drifted(known())
    cache.put("Deployment", deployment(4, 3), applied=True)
    assert not drifted(known())


def test_the_watch_may_be_faster_than_the_answer_to_an_apply() -> None:
    cache = Cache()
    service = {"metadata": pod(7)["metadata"], "spec": {}}
    cache.put("Service", service)
    cache.put("Service", service, applied=True)
    assert not drifted(cache.get("Service", "default", "digits-1-0") or {})


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


def test_a_pod_is_its_owners_whatever_its_labels_say() -> None:
    cache = Cache()
    for revision, said in enumerate(({}, {labels.TRAINJOB: "another"}, {labels.ATTEMPT: "none"}), start=1):
        edited = pod(revision)
        edited["metadata"]["labels"] = said
        cache.put("Pod", edited)
        assert cache.children(PARENT) and not cache.children(PARENT._replace(name="another"))
    serving = pod(9)
    serving["metadata"] |= {"name": "my-web-0123456789-5f6d7-x", "ownerReferences": [{**OWNER, "kind": "ReplicaSet"}]}
    serving["metadata"]["ownerReferences"][0] |= {"apiVersion": "apps/v1", "name": "my-web-0123456789-5f6d7"}
    cache.put("Pod", serving)
    assert cache.children(Key("ModelServe", "default", "my-web"))


def test_a_pod_that_is_let_go_is_nobodys() -> None:
    cache = Cache()
    cache.put("Pod", pod(1))
    orphan = pod(2)
    orphan["metadata"]["ownerReferences"] = []
    cache.put("Pod", orphan)
    assert cache.children(PARENT) == []
