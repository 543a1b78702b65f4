"""The body of a request, within limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from samdeploy.serving.refusals import RefusedError

#: The rest of a body that is not wanted would come before the next request.
_NO_MORE = {"Connection": "close"}


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """All of a body of at most ``most`` bytes.

    Raises:
        RefusedError: it has more, or takes longer than ``seconds`` to arrive.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most:
        raise _too_large(most)

    async def arrive() -> bytes:
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > most:
                raise _too_large(most)
        return bytes(content)

    try:
        return await asyncio.wait_for(arrive(), seconds)
    except asyncio.TimeoutError as error:
        raise RefusedError(
            408, f"the request did not arrive within {seconds:g} s; send it faster.", _NO_MORE
        ) from error


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413, f"the request is too large; expected at most {most} bytes, see max_mb.", _NO_MORE
    )
