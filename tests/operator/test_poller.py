"""The poller: it polls real HTTP servers and rejects answers that are not valid JSON."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol

from trainserve.operator import said
from trainserve.operator.poller import MAX_BYTES, Poller, Target, _body
from trainserve.operator.workqueue import Key

KEY = Key("TrainJob", "default", "digits")


class Pod:
    """An HTTP server with a configurable answer."""

    def __init__(self) -> None:
        self.body, self.status, self.asked = "{}", 200, 0
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=self.body, status=self.status)


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    served = Pod()
    application = web.Application()
    application.add_routes([web.get("/progress", served.answer)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}/progress"
    yield served
    await runner.cleanup()


class Woken:
    """Record the keys that were woken."""

    def __init__(self) -> None:
        self.keys: asyncio.Queue[Key] = asyncio.Queue()

    def __call__(self, key: Key) -> None:
        self.keys.put_nowait(key)

    async def once(self) -> Key:
        async with asyncio.timeout(30):
            return await self.keys.get()


@contextlib.asynccontextmanager
async def running(poller: Poller) -> AsyncIterator[None]:
    task = asyncio.create_task(poller.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def asked_again(pod: Pod, times: int) -> None:
    before = pod.asked
    async with asyncio.timeout(30):
        while pod.asked < before + times:  # noqa: ASYNC110 - the server counts, and has no event to wait for
            await asyncio.sleep(0.01)


async def test_an_answer_wakes_its_key_and_is_kept(pod: Pod) -> None:
    woken = Woken()
    poller = Poller(woken)
    pod.body = '{"epoch": 1}'
    async with running(poller):
        poller.follow(KEY, {"uid": Target(pod.url, 0.01)})
        assert await woken.once() == KEY
        assert poller.answers(KEY) == {"uid": {"epoch": 1}}
        pod.body = '{"epoch": 2}'
        await woken.once()
        assert poller.answers(KEY) == {"uid": {"epoch": 2}}


class Arriving(aiohttp.StreamReader):
    """The body of an answer whose next piece arrives only when all previous ones have been read."""

    def __init__(self, pieces: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(BaseProtocol(loop), MAX_BYTES, loop=loop)
        self.pieces, self.reads = pieces, 0

    async def read(self, n: int = -1) -> bytes:
        self.reads += 1
        if self.pieces:
            self.feed_data(self.pieces.pop(0))
        else:
            self.feed_eof()
        return await super().read(n)


async def test_an_answer_that_arrives_in_pieces_is_read_whole() -> None:
    arriving = Arriving([b'{"epoch"', b": 1", b"}"])
    assert await _body(arriving) == b'{"epoch": 1}'
    assert arriving.reads == 4


async def test_of_a_longer_answer_no_more_is_read_than_the_most() -> None:
    arriving = Arriving([b"x" * (MAX_BYTES - 1), b"yz", b"never"])
    assert await _body(arriving) == b"x" * (MAX_BYTES - 1) + b"y"
    assert arriving.pieces == [b"never"]


async def test_the_same_answer_again_wakes_nobody(pod: Pod) -> None:
    woken = Woken()
    poller = Poller(woken)
    pod.body = '{"epoch": 1}'
    async with running(poller):
        poller.follow(KEY, {"uid": Target(pod.url, 0.01)})
        await woken.once()
        await asked_again(pod, 3)
    assert woken.keys.empty()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("nonsense", 200),
        ("[1]", 200),
        ('{"epoch": 9}', 500),
        ('{"x": "' + "y" * MAX_BYTES + '"}', 200),
        ("\xff", 200),
        ("[" * 60_000, 200),
        ('{"x":' * 10_000, 200),
        ('{"x": ' + "9" * 5000 + "}", 200),
        (r'{"x": "\ud800"}', 200),
    ],
)
async def test_what_is_no_answer_leaves_the_last_one_standing(pod: Pod, body: str, status: int) -> None:
    woken = Woken()
    poller = Poller(woken)
    pod.body = '{"epoch": 1}'
    async with running(poller):
        poller.follow(KEY, {"uid": Target(pod.url, 0.01)})
        await woken.once()
        pod.body, pod.status = body, status
        await asked_again(pod, 3)
        assert poller.answers(KEY) == {"uid": {"epoch": 1}}


async def test_whatever_one_pod_brings_about_the_others_are_asked_on(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(body: bytes) -> None:
        if body == b"bad":
            raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(said, "read", read)
    poller, pod.body = Poller(Woken()), "bad"
    async with running(poller):
        poller.follow(KEY, {"uid": Target(pod.url, 0.01)})
        await asked_again(pod, 3)


async def test_a_pod_that_does_not_listen_holds_nobody_up(pod: Pod) -> None:
    poller = Poller(Woken())
    async with running(poller):
        poller.follow(KEY, {"silent": Target("http://127.0.0.1:1/progress", 0.01), "uid": Target(pod.url, 0.01)})
        await asked_again(pod, 3)
        assert poller.answers(KEY) == {"uid": {}}


async def test_another_pod_starts_without_the_answers_of_the_last_one(pod: Pod) -> None:
    woken = Woken()
    poller = Poller(woken)
    pod.body = '{"epoch": 1}'
    async with running(poller):
        poller.follow(KEY, {"uid": Target(pod.url, 0.01)})
        await woken.once()
        poller.follow(KEY, {"another": Target(pod.url, 60)})
        assert poller.answers(KEY) == {}
        poller.follow(KEY, {})
        assert poller.answers(KEY) == {}
