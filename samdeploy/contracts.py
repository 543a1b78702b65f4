"""The contract of a family's graphs: what they take and give, checked above every backend."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from samdeploy.errors import BundleError, InputError
from samdeploy.session import MOST_IMGSZ, Array, Session, TensorSpec

#: Inputs and outputs of a graph.
Specs: TypeAlias = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def _implies_nothing(sizes: Mapping[str, int]) -> Mapping[str, int]:
    return {}


def _fits(found: Mapping[str, Specs], image_size: int, channels: int, source: object) -> None:
    """Nothing is known beyond names, dtypes and ranks."""


@dataclass(frozen=True)
class Contract:
    """The graphs of one family of models.

    Attributes:
        graphs: the roles that a bundle may have: exactly those of one of the lines, of which the
            first is what every model has, and the last all that a model can have.
        tensors: inputs and outputs by role. A dynamic dimension is its name; a number says that
            there is one and not how large it is. Tensors that bear the same name begin with the
            same dynamic dimensions, whatever the role and the family.
        meanings: what each tensor holds, for the descriptions inside the artifacts.
        dtypes: those that tensors may have.
        image: name of the input that is the image.
        per_call: dimensions that may differ from call to call; the other dynamic ones follow from
            the image.
        implied: sizes of dynamic outputs that follow from the sizes of the inputs, by name.
        check: compares the tensors that a manifest tells, by role, with what graphs of an image of
            ``image_size`` pixels and embeddings of ``channels`` have, and raises
            :class:`BundleError` with ``source`` where they differ.
    """

    graphs: tuple[tuple[str, ...], ...]
    tensors: Mapping[str, Specs]
    meanings: Mapping[str, str]
    dtypes: tuple[str, ...] = ("float32",)
    image: str = "image"
    per_call: tuple[str, ...] = ()
    implied: Callable[[Mapping[str, int]], Mapping[str, int]] = _implies_nothing
    check: Callable[[Mapping[str, Specs], int, int, object], None] = _fits

    def needed(self, roles: Collection[str]) -> tuple[str, ...]:
        """Those of the graphs that a model has which every model of the family has."""
        return next(line for line in self.graphs if set(line) <= set(roles))

    def check_bundle(
        self, found: Mapping[str, Specs], image_size: int, channels: int, source: object
    ) -> None:
        """Compare what a manifest tells of its graphs, by role, with what they can have.

        Raises:
            BundleError: they differ.
        """
        for role, specs in found.items():
            self.check_tensors(role, specs)
        self.check(found, image_size, channels, source)

    def check_tensors(self, role: str, found: Specs) -> None:
        """Compare names, dtypes and ranks, and whether the image has a size that can be.

        Raises:
            BundleError: they differ.
        """
        for kind, wanted, specs in zip(
            ("inputs", "outputs"), self.tensors[role], found, strict=True
        ):
            ranks = {spec.name: len(spec.shape) for spec in wanted}
            names = [spec.name for spec in specs]
            if sorted(names) != sorted(ranks):
                raise BundleError(
                    f"the {role} graph has {kind} {names}; expected {list(ranks)}, export it again."
                )
            for spec in specs:
                self._check_tensor(role, spec, ranks[spec.name])

    def _check_tensor(self, role: str, spec: TensorSpec, rank: int) -> None:
        largest = max((side for side in spec.shape if isinstance(side, int)), default=0)
        image = spec.name == self.image
        if (
            spec.dtype in self.dtypes
            and len(spec.shape) == rank
            and not (image and largest > MOST_IMGSZ)
        ):
            return
        raise BundleError(
            f"the {role} graph has '{spec.name}' {list(spec.shape)} of {spec.dtype}; expected "
            f"{rank} dimensions of {' or '.join(self.dtypes)}"
            + (f" up to {MOST_IMGSZ}" if image else "")
            + ", export it again."
        )

    def check_recorded(self, role: str, found: Specs, recorded: Specs) -> None:
        """Compare a graph with what its manifest tells of it. What is dynamic in only one of them
        is compared when the graph answers.

        Raises:
            BundleError: they differ.
        """
        told = {spec.name: spec for side in recorded for spec in side}
        for spec in (*found[0], *found[1]):
            expected = told[spec.name]
            fits = spec.dtype == expected.dtype and all(
                side == wanted if isinstance(wanted, int) else wanted not in self.per_call
                for side, wanted in zip(spec.shape, expected.shape, strict=True)
                if isinstance(side, int)
            )
            if not fits:
                raise BundleError(
                    f"the {role} graph has '{spec.name}' {list(spec.shape)} of {spec.dtype}, its "
                    f"manifest tells {list(expected.shape)} of {expected.dtype}; export it again."
                )


def names_of(specs: Specs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the inputs and of the outputs."""
    inputs, outputs = specs
    return tuple(spec.name for spec in inputs), tuple(spec.name for spec in outputs)


def spec_of(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
    """The one that is called so."""
    return next(spec for spec in specs if spec.name == name)


def fixed_shape(session: Session, name: str) -> tuple[int, ...]:
    """Shape of an input that must not be dynamic, such as the encoder's image.

    Raises:
        BundleError: it is dynamic.
    """
    shape = spec_of(session.inputs, name).shape
    numbers = tuple(side for side in shape if isinstance(side, int))
    if len(numbers) != len(shape):
        raise BundleError(f"input '{name}' has shape {list(shape)}; expected fixed numbers.")
    return numbers


def check_array(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> None:
    """Compare an array with its spec; ``sizes`` collects what each dynamic dimension is, which must
    be the same everywhere.

    Raises:
        InputError: it does not fit.
    """
    wrong = misfit(spec, array, sizes)
    if wrong:
        raise InputError(f"'{spec.name}' {wrong}.")


def misfit(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> str:
    """Say what is wrong with an array, see :func:`check_array`; empty where nothing is."""
    if array.dtype != spec.numpy_dtype:
        return f"is {array.dtype}; expected {spec.dtype}"
    fits = len(array.shape) == len(spec.shape) and all(
        found == wanted
        if isinstance(wanted, int)
        else found > 0 and sizes.setdefault(wanted, found) == found
        for found, wanted in zip(array.shape, spec.shape, strict=True)
    )
    if fits:
        return ""
    return (
        f"has shape {list(array.shape)}; expected {list(spec.shape)}, with the same number "
        "wherever a name appears"
    )
