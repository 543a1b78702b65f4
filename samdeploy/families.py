"""Families of models: all that differs between them, one record each.

A package adds families of its own through the entry-point group ``samdeploy.families``, an entry
for each :class:`Family`. Looking a record up imports no torch and no class that opens models: what
a record refers to is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, TypeAlias

from samdeploy.contracts import Contract, Specs, names_of
from samdeploy.errors import BundleError, InputError
from samdeploy.graphs import HOSTED, HOSTED_MEANING, SAM_CONTRACT
from samdeploy.graphs_hq import HQ_CONTRACT
from samdeploy.graphs_sam2 import SAM2_CONTRACT
from samdeploy.libraries import added
from samdeploy.preprocess import SAM2_STEPS, SAM_STEPS, Preprocess
from samdeploy.session import TensorSpec
from samdeploy.yolo.graphs import FASTSAM_CONTRACT, YOLO_CONTRACT

GROUP = "samdeploy.families"

#: ``module:attribute`` of something that is imported when it is needed, or empty.
Reference: TypeAlias = str


def resolve(reference: Reference) -> Any:
    """Import what ``reference`` refers to."""
    return EntryPoint(reference, reference, GROUP).load()


@dataclass(frozen=True, eq=False)
class Family:
    """One family of models.

    Attributes:
        name: what manifests call it.
        contract: its graphs and their tensors.
        model: the class that opens it, where users import it from.
        loader: ``load(path, *, config, imgsz, trust)``, a checkpoint to a
            :class:`samdeploy.models.loaded.LoadedModel`.
        verifier: ``verify(reference, candidate, *, precision, arithmetic, tolerance, whole_image,
            progress)``, sessions by role to a :class:`samdeploy.bundle.VerificationRecord`; one
            with ``preprocess`` takes that as well.
        recognises: ``recognises(path) -> bool``, whether a checkpoint is one of its loader's, told
            by its content and without torch; not so where there is no file. A family without one
            takes what no other recognises.
        opens: ``opens(path) -> bool``, whether a file that is neither a bundle nor a checkpoint,
            such as an ONNX file of somebody else's, is one of this family.
        preprocess: how an image becomes encoder input, unless a bundle or a checkpoint says
            otherwise; what a model has is passed on to the verifier. ``None`` where a family does
            that in its own way.
        always_padded: of prompts, see :func:`samdeploy.prompts.encode_prompts`.
        largest_logit: of masks that are prompts; larger ones are cut off, as the model was trained.
        single_mask: ``choose(logits, iou) -> indices``, which of a prompt's masks answers when one
            is asked for (:mod:`samdeploy.masks.single_mask`).
        whole_image: whole-image settings that its models recommend, where they differ from SAM's.
        configurable: ``config`` tells its loader what tensor shapes cannot; a manifest's does too.
        parameters: ``parameters(config) -> int``, how many trained numbers a model has by its
            manifest; without one they are counted in its graph.
        kernels: :mod:`samdeploy.runtimes.native` know its decoder, where that has two layers.
    """

    name: str
    contract: Contract
    model: Reference
    loader: Reference
    verifier: Reference
    recognises: Reference = ""
    opens: Reference = ""
    preprocess: Preprocess | None = None
    always_padded: bool = False
    largest_logit: float = float("inf")
    single_mask: Reference = "samdeploy.masks.single_mask:first_mask"
    whole_image: Mapping[str, Any] = field(default_factory=dict)
    configurable: bool = False
    parameters: Reference = ""
    kernels: bool = False

    def check_class(self, model: Reference, source: object, architecture: str = "") -> None:
        """Raise :class:`InputError`, with the class that opens it, unless that is the class
        ``model`` or derives from it."""
        if not issubclass(resolve(self.model), resolve(model)):
            raise InputError(
                f"'{source}' is a {architecture or self.name} model and no {model.split(':')[1]}; "
                f"open it with {self.model.replace(':', '.')}."
            )


_YOLO_LOADER = "samdeploy.models.yolo:load"
_YOLO_VERIFIER = "samdeploy.exporting.verify_yolo:verify_yolo"
#: Tells checkpoints of both families; which of them one is, its loader says.
_YOLO_CHECKPOINT = "samdeploy.yolo.files:is_ultralytics"

_BUILT_IN = (
    Family(
        "yolo",
        YOLO_CONTRACT,
        model="samdeploy:YOLO",
        loader=_YOLO_LOADER,
        verifier=_YOLO_VERIFIER,
        recognises=_YOLO_CHECKPOINT,
        opens="samdeploy.yolo.files:is_yolo_onnx",
    ),
    Family(
        "fastsam",
        FASTSAM_CONTRACT,
        model="samdeploy:FastSAM",
        loader=_YOLO_LOADER,
        verifier=_YOLO_VERIFIER,
        recognises=_YOLO_CHECKPOINT,
        opens="samdeploy.yolo.files:is_fastsam_onnx",
    ),
    Family(
        "sam2",
        SAM2_CONTRACT,
        model="samdeploy:SAM",
        loader="samdeploy.models.sam2.load:load",
        verifier="samdeploy.exporting.verify_sam:verify_sam2",
        recognises="samdeploy.checkpoint_names:is_sam2",
        preprocess=SAM2_STEPS,
        always_padded=True,
        largest_logit=32.0,
        parameters="samdeploy.models.parameters:count_sam2",
        single_mask="samdeploy.masks.single_mask:stable_mask",
        kernels=True,
        whole_image={"conf_thres": 0.8},
        configurable=True,
    ),
    Family(
        "sam_hq",
        HQ_CONTRACT,
        model="samdeploy:SAM",
        loader="samdeploy.models.hq.load:load",
        verifier="samdeploy.exporting.verify_sam:verify_sessions",
        recognises="samdeploy.checkpoint_names:is_hq_sam",
        parameters="samdeploy.models.parameters:count_hq",
        preprocess=SAM_STEPS,
        whole_image={"best_only": True},
        configurable=True,
    ),
    Family(
        "sam",
        SAM_CONTRACT,
        model="samdeploy:SAM",
        loader="samdeploy.models.load:load",
        verifier="samdeploy.exporting.verify_sam:verify_sessions",
        preprocess=SAM_STEPS,
        configurable=True,
        parameters="samdeploy.models.parameters:count_sam",
        kernels=True,
    ),
)


@lru_cache
def families() -> dict[str, Family]:
    """All of them by name: those of other packages first, SAM last."""
    return {family.name: family for family in (*added(GROUP), *_BUILT_IN)}


def family_named(name: str, source: object) -> Family:
    """The family of a model that was read from ``source``.

    Raises:
        BundleError: there is none of that name here.
    """
    known = families()
    if name not in known:
        raise BundleError(
            f"'{source}' holds a model of family '{name}', this samdeploy knows "
            f"{', '.join(known)}; upgrade samdeploy."
        )
    return known[name]


def family_of_checkpoint(path: Path) -> Family:
    """The first that recognises it."""
    return next(
        family
        for family in families().values()
        if not family.recognises or resolve(family.recognises)(path)
    )


def contract_of(role: str, found: Specs) -> Contract:
    """The contract of a family that calls the tensors of this graph as in ``found``; where none
    does, of one that has such a graph.

    Raises:
        BundleError: no family has such a graph.
    """
    contracts = [contract for contract in _contracts() if role in contract.tensors]
    if not contracts:
        raise BundleError(
            f"a graph '{role}' is of no family that this samdeploy knows; upgrade samdeploy."
        )

    def names(specs: Specs) -> list[set[str]]:
        return [set(side) for side in names_of(specs)]

    fitting = (each for each in contracts if names(each.tensors[role]) == names(found))
    return next(fitting, contracts[-1])


def tensor_names(role: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the inputs and outputs that a graph of this role has, in the order of its contract;
    those of all families where several have such a graph, and of graphs that take prompts as
    tokens."""
    tensors = [contract.tensors for contract in _contracts()]
    found = [names_of(specs[role]) for specs in tensors if role in specs]
    inputs, outputs = (dict.fromkeys(chain(*(names[side] for names in found))) for side in (0, 1))
    hosted = chain(*((name, HOSTED[name]) if name in HOSTED else (name,) for name in inputs))
    return tuple(hosted), tuple(outputs)


@lru_cache
def dynamic(tensor: str) -> tuple[str, ...]:
    """Names of its leading dimensions that are dynamic; none of a tensor that no family has."""
    shapes = (spec.shape for _, spec in _tensors(tensor))
    return tuple(str(side) for side in takewhile(_is_dynamic, next(shapes, ())))


@lru_cache
def per_call(tensor: str) -> tuple[str, ...]:
    """The first of its :func:`dynamic` dimensions, as far as they may differ from call to call."""
    varying = {side for contract, _ in _tensors(tensor) for side in contract.per_call}
    return tuple(takewhile(varying.__contains__, dynamic(tensor)))


def dimension(tensor: str, axis: int) -> str:
    """The contracts' name of a dynamic dimension, for backends that do not keep names."""
    sides = (spec.shape[axis] for _, spec in _tensors(tensor) if axis < len(spec.shape))
    return next((side for side in sides if isinstance(side, str)), f"d{axis}")


def named_shape(tensor: str) -> tuple[str, ...]:
    """A name for every dimension of a tensor, for backends that tell no shape: those of its
    :func:`dynamic` ones, and of the others names that no other tensor has."""
    known = dynamic(tensor)
    rank = next(len(spec.shape) for _, spec in _tensors(tensor))
    return (*known, *(f"{tensor}_{axis}" for axis in range(len(known), rank)))


def meaning(tensor: str) -> str:
    """The meaning of a tensor, in one line; empty where nobody says it."""
    known = chain((HOSTED_MEANING,), (contract.meanings for contract in _contracts()))
    return next(filter(None, (meanings.get(tensor) for meanings in known)), "")


def _contracts() -> Iterator[Contract]:
    return (family.contract for family in families().values())


def _tensors(name: str) -> Iterator[tuple[Contract, TensorSpec]]:
    """The spec in every graph that has a tensor of that name, or one in the place of which that
    comes."""
    name = next((each for each, hosted in HOSTED.items() if hosted == name), name)
    for contract in _contracts():
        for inputs, outputs in contract.tensors.values():
            yield from ((contract, spec) for spec in (*inputs, *outputs) if spec.name == name)


def _is_dynamic(side: int | str) -> bool:
    return isinstance(side, str)
