"""The rest of a request that was answered before all of it had come.

Most clients read the answer once they have sent everything. Were the connection closed on what they
still send, they would learn of a broken pipe and never read why they were refused. So the answer is
given at once, but ends when the request does (as servers with a "lingering close" do).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from samdeploy.serving.guard import App, Message, Receive, Send

#: A client that sends nothing for so long waits for the end of the answer.
_SILENCE_SECONDS = 2.0


class Lingering:
    """An ASGI application around ``app`` that drops what of a request comes after its answer.

    Args:
        seconds: how long that may go on.
    """

    def __init__(self, app: App, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        arrived = False

        async def receive_noting_the_end() -> Message:
            nonlocal arrived
            message = await receive()
            arrived = not message.get("more_body", False)  # a lost connection brings no more
            return message

        async def drop_the_rest() -> None:
            silence = min(_SILENCE_SECONDS, self._seconds)
            while not arrived:
                await asyncio.wait_for(receive_noting_the_end(), silence)

        async def send_ending_late(message: Message) -> None:
            ends = message["type"] == "http.response.body" and not message.get("more_body", False)
            if ends and not arrived:
                await send({**message, "more_body": True})
                message = {"type": "http.response.body"}
                with suppress(asyncio.TimeoutError):  # the connection closes on the rest
                    await asyncio.wait_for(drop_the_rest(), self._seconds)
            await send(message)

        await self._app(scope, receive_noting_the_end, send_ending_late)
