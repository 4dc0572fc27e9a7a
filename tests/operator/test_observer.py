"""The observer: which objects are reconciled again after a change."""

from __future__ import annotations

from typing import Any

from tests.operator.support import trainjob
from trainserve.api import API_VERSION
from trainserve.operator.cache import Cache
from trainserve.operator.objects import Object
from trainserve.operator.observer import LIST_PAUSE, Observer, Watches
from trainserve.operator.workqueue import Key

JOB = Key("TrainJob", "default", "digits")
WEB = Key("ModelServe", "default", "web")


class Listing:
    """A stub of the list requests that returns the cluster's objects."""

    def __init__(self, *objects: Object) -> None:
        self.objects = objects

    async def list(self, kind: str) -> tuple[list[Object], int]:
        return [found for found in self.objects if found["kind"] == kind], 100


class Seen:
    """Record what an observer wakes and forgets, and the kinds whose watches restarted."""

    def __init__(self, *objects: Object) -> None:
        self.woken: list[Key] = []
        self.forgotten: list[str] = []
        self.restarted: list[str] = []
        self.cache = Cache()
        listing: Any = Listing(*objects)
        self.observer = Observer(
            self.cache,
            listing,
            self.woken.append,
            lambda gone: self.forgotten.append(gone["metadata"]["uid"]),
            self.restarted.append,
        )

    def take(self) -> list[Key]:
        woken, self.woken[:] = list(self.woken), []
        return woken


def job(revision: int, **status: Any) -> Object:
    made = trainjob(status=status or None)
    made["metadata"]["resourceVersion"] = str(revision)
    return made


def serve(revision: int = 1, **model: Any) -> Object:
    named = {"name": "web", "namespace": "default", "uid": "web-uid", "resourceVersion": str(revision)}
    return {"kind": "ModelServe", "metadata": named, "spec": {"model": model}}


def pod() -> Object:
    named = {"name": "digits-1-0", "namespace": "default", "uid": "pod-uid", "resourceVersion": "5"}
    owner = {"apiVersion": API_VERSION, "kind": "TrainJob", "name": "digits", "uid": "job-uid"}
    return {"kind": "Pod", "metadata": {**named, "ownerReferences": [owner]}}


def test_a_child_wakes_its_parent() -> None:
    seen = Seen()
    seen.observer.observe("Pod", "ADDED", pod())
    assert seen.take() == [JOB]
    seen.observer.observe("Pod", "DELETED", pod())
    assert seen.take() == [JOB]


def test_a_trainjob_that_gets_on_wakes_the_modelserves_that_wait_for_it() -> None:
    seen = Seen()
    seen.observer.observe("ModelServe", "ADDED", serve(trainJob="digits"))
    seen.take()
    seen.observer.observe("TrainJob", "ADDED", job(1, phase="Running"))
    assert seen.take() == [JOB, WEB]
    seen.observer.observe("TrainJob", "MODIFIED", job(2, phase="Running", progress={"epoch": 1}))
    assert seen.take() == [JOB], "progress is nothing to them"
    seen.observer.observe("TrainJob", "MODIFIED", job(3, phase="Complete"))
    assert seen.take() == [JOB, WEB]


def test_a_modelserve_that_follows_a_name_is_woken_by_every_job_that_publishes_under_it() -> None:
    seen = Seen()
    seen.observer.observe("ModelServe", "ADDED", serve(name="digits"))
    seen.observer.observe("ModelServe", "ADDED", serve(name="digits"))
    seen.take()
    seen.observer.observe("TrainJob", "ADDED", job(1))
    assert WEB in seen.take()


def test_our_own_write_wakes_others_but_not_its_object() -> None:
    seen = Seen()
    seen.observer.observe("ModelServe", "ADDED", serve(trainJob="digits"))
    seen.observer.observe("TrainJob", "ADDED", job(1, phase="Running"))
    seen.take()
    seen.observer.wrote("TrainJob", job(2, phase="Complete"))
    assert seen.take() == [WEB]
    seen.observer.observe("TrainJob", "MODIFIED", job(2, phase="Complete"))
    assert seen.take() == [], "the write's own event"


async def test_what_was_deleted_while_no_watch_looked_is_found_by_listing() -> None:
    seen = Seen(job(1))
    seen.observer.observe("TrainJob", "ADDED", job(1))
    seen.observer.observe("ModelServe", "ADDED", serve(trainJob="digits"))
    seen.observer.observe("Pod", "ADDED", pod())
    seen.take()
    await seen.observer.list_anew("Pod")
    await seen.observer.list_anew("TrainJob")
    await seen.observer.list_anew("ModelServe")
    assert seen.cache.get("Pod", "default", "digits-1-0") is None
    assert seen.cache.get(*JOB) is not None
    assert seen.cache.get(*WEB) is None
    assert seen.take() == [JOB, WEB]
    assert seen.forgotten == ["web-uid"]


LATER = 2 * LIST_PAUSE


def test_a_watch_began_again_when_a_list_begins_that_is_not_the_first() -> None:
    watches = Watches()
    first = [watches.began_again("Pod", True, now) for now in (0, 0.5, 5, 14)]
    assert first == [False] * 4, "one list, however long it takes"
    assert not watches.began_again("Pod", False, 14 + LATER), "a change"
    again = [watches.began_again("Pod", True, 14 + LATER + more) for more in (1, 2, 11)]
    assert again == [True, False, False], "counted once"
    assert not watches.began_again("Service", True, 14 + LATER), "another kind's first"


def test_a_watch_that_found_nothing_at_first_has_begun_all_the_same_once_something_changes() -> None:
    watches = Watches()
    assert not watches.began_again("TrainJob", False, 0)
    assert watches.began_again("TrainJob", True, LATER)


def test_the_first_list_of_a_watch_is_no_restart() -> None:
    seen = Seen()
    seen.observer.observe("TrainJob", None, job(1))
    seen.observer.observe("TrainJob", "MODIFIED", job(2))
    assert seen.restarted == []
