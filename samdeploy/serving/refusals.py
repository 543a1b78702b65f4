"""Requests that are not answered, and the HTTP status of every error."""

from __future__ import annotations

from collections.abc import Mapping

from samdeploy.errors import InputError, SamDeployError


class RefusedError(SamDeployError):
    """A request that is refused: one sentence, and the HTTP ``status`` and ``headers`` of it."""

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = dict(headers or {})


class GoneError(RefusedError):
    """An image that is asked for by its id and is not kept (any more)."""

    def __init__(self, sentence: str) -> None:
        super().__init__(404, sentence)


def refusal_of(error: SamDeployError) -> RefusedError:
    """Any error of ours as a refusal: input that cannot be used is 422, the rest is our fault."""
    if isinstance(error, RefusedError):
        return error
    return RefusedError(422 if isinstance(error, InputError) else 500, str(error))
