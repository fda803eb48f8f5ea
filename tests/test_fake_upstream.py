import anyio
import httpx
import pytest

from tests.fake_upstream import (
    WAIT_S,
    Close,
    Drip,
    End,
    FakeUpstream,
    Head,
    Raw,
    Reply,
    Reset,
    Send,
    Stall,
    answer,
    refusal,
)

pytestmark = pytest.mark.anyio


async def post(client: httpx.AsyncClient, upstream: FakeUpstream) -> httpx.Response:
    return await client.post(f"{upstream.base_url}/chat/completions", json={"a": 1})


async def test_replies_come_in_turn_on_one_connection() -> None:
    async with FakeUpstream([answer("Hello there"), refusal(429, "slow")]) as upstream, httpx.AsyncClient() as client:
        first, second = await post(client, upstream), await post(client, upstream)
        assert b'" there"' in first.content
        assert second.status_code == 429
        assert [request.connection for request in upstream.requests] == [0, 0]
        assert upstream.requests[0].json == {"a": 1}


async def test_models_are_listed_and_other_documents_are_not_there() -> None:
    async with FakeUpstream() as upstream, httpx.AsyncClient() as client:
        assert (await client.get(f"{upstream.base_url}/models")).json()["data"][0]["id"] == "scripted"
        assert (await client.get(f"{upstream.base_url}/other")).status_code == 404


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        pytest.param([Close()], httpx.RemoteProtocolError, id="closed without an answer"),
        pytest.param([Head(), Send(b"a"), Close()], httpx.RemoteProtocolError, id="cut"),
        pytest.param([Head(), Send(b"a"), Reset()], httpx.ReadError, id="reset"),
        pytest.param([Raw(b"no HTTP\r\n\r\n")], httpx.RemoteProtocolError, id="raw"),
    ],
)
async def test_an_answer_can_break_off(steps: Reply, error: type[Exception]) -> None:
    async with FakeUpstream([steps]) as upstream, httpx.AsyncClient() as client:
        with pytest.raises(error):
            await post(client, upstream)


async def test_an_answer_can_end_with_its_connection() -> None:
    steps: Reply = [Head(200, {"connection": "close"}), Drip(b"abc"), End()]
    async with FakeUpstream([steps]) as upstream, httpx.AsyncClient() as client:
        assert (await post(client, upstream)).content == b"abc"


async def test_the_fake_sees_that_its_peer_leaves() -> None:
    async with FakeUpstream([[Head(), Send(b"a"), Stall()]]) as upstream, httpx.AsyncClient() as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(post, client, upstream)
            request = await upstream.request(0)
            with anyio.fail_after(WAIT_S):
                while not request.sent_bytes:  # noqa: ASYNC110 - there is no event for it
                    await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
        await request.wait_until_closed_by_peer()
        assert request.sent_bytes == 1
