"""A session that is held to its contract."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from samdeploy.contracts import Contract, Specs, check_array, misfit
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError, SamDeployError
from samdeploy.families import contract_of
from samdeploy.session import Array, DividedSession, Session, TensorSpec
from samdeploy.text import reason


class CheckedSession:
    """A session whose feeds are checked for names, dtypes and shapes before they reach the backend,
    and whose answers are when they leave it.

    Args:
        recorded: what the manifest tells of the graph, for one of a bundle.
        contract: of the model's family; by default that of a family whose graph of this role has
            tensors of these names.

    Raises (on construction):
        BundleError: the graph does not have the inputs and outputs of its role, or not those that
            are recorded.
    """

    def __init__(
        self,
        session: Session,
        role: str,
        recorded: Specs | None = None,
        contract: Contract | None = None,
    ) -> None:
        self.inputs, self.outputs = tuple(session.inputs), tuple(session.outputs)
        found = self.inputs, self.outputs
        contract = contract or contract_of(role, recorded or found)
        contract.check_tensors(role, found)
        if recorded is not None:
            contract.check_recorded(role, found, recorded)
        self._session, self._role, self._implied = session, role, contract.implied
        self._recorded, self._contract = recorded, contract
        self.streams = session.streams if isinstance(session, DividedSession) else 1
        told = {} if recorded is None else {spec.name: spec.shape for spec in recorded[1]}
        self._answers = tuple(_narrowed(spec, told.get(spec.name)) for spec in self.outputs)

    @property
    def provider(self) -> str:
        return self._session.provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Raises :class:`InputError` when ``feeds`` do not fit the graph, :class:`BundleError` when
        its answer does not, and :class:`RuntimeUnavailableError` when the backend fails."""
        expected = {spec.name for spec in self.inputs}
        if set(feeds) != expected:
            raise InputError(f"feeds are {sorted(feeds)}; expected {sorted(expected)}.")
        sizes: dict[str, int] = {}
        for spec in self.inputs:
            check_array(spec, feeds[spec.name], sizes)
        try:
            answer = self._session.run(
                {name: np.ascontiguousarray(array) for name, array in feeds.items()}
            )
        except SamDeployError:
            raise
        except Exception as error:  # every backend has its own
            raise RuntimeUnavailableError(
                f"{self.provider} failed while it ran the {self._role} graph ({reason(error)}); "
                "choose another device."
            ) from error
        self._check_answer(answer, {**sizes, **self._implied(sizes)})
        return answer

    def divided(self) -> CheckedSession:
        """For ``streams`` calls side by side; see :class:`~samdeploy.session.DividedSession`."""
        assert isinstance(self._session, DividedSession)
        return CheckedSession(self._session.divided(), self._role, self._recorded, self._contract)

    def _check_answer(self, answer: Mapping[str, Array], sizes: dict[str, int]) -> None:
        for spec in self._answers:
            array = answer.get(spec.name)
            wrong = "is missing" if array is None else misfit(spec, array, sizes)
            if wrong:
                raise BundleError(
                    f"the {self._role} graph gave a wrong answer on {self.provider}: "
                    f"'{spec.name}' {wrong}; export it again or choose another device."
                )

    def close(self) -> None:
        self._session.close()


def _narrowed(spec: TensorSpec, told: tuple[int | str, ...] | None) -> TensorSpec:
    """``spec`` with the numbers and names of ``told`` where it is dynamic."""
    if told is None:
        return spec
    sides = zip(spec.shape, told, strict=True)
    shape = tuple(side if isinstance(side, int) else wanted for side, wanted in sides)
    return TensorSpec(spec.name, shape, spec.dtype)
