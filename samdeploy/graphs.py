"""The contract of a bundle's graphs, checked once above every backend."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import takewhile

import numpy as np

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError, SamDeployError
from samdeploy.session import MOST_IMGSZ, Array, Session, TensorSpec
from samdeploy.text import reason

ENCODER, DECODER = "encoder", "decoder"
#: The same decoder for many prompts on one image: once per image, per prompt, per mask wanted.
PREPARE, SCORER, MASK_HEAD = "prepare", "scorer", "mask_head"
#: Every model has these graphs; the others make it faster.
ROLES = (ENCODER, DECODER)
ALL_ROLES = (*ROLES, PREPARE, SCORER, MASK_HEAD)
#: The one graph of a YOLO model: boxes, or boxes and masks.
DETECTOR, SEGMENTER = "detector", "segmenter"

#: By family of model, the graphs that its bundles have: exactly those of one of the lines, of which
#: the first is what every model has.
FAMILIES = {
    "sam": (ROLES, ALL_ROLES),
    "yolo": ((DETECTOR,), (SEGMENTER,)),
    "fastsam": ((SEGMENTER,),),
}

#: What each of them holds, for the descriptions inside the artifacts.
MEANING = {
    "image": "RGB in 0-255, longer side resized to S, padded right and bottom with the pixel mean",
    "image_embeddings": "features of the image at a sixteenth of the input",
    "point_coords": "(x, y) in encoder-input pixels",
    "point_labels": "1 foreground, 0 background, 2 and 3 box corners, -1 SAM's padding point "
    "(with points without a box), -2 no token",
    "mask_input": "logits of an earlier answer",
    "has_mask_input": "1 where mask_input is to be used, else 0",
    "low_res_masks": "logits in the padded frame at a quarter of the input; index 0 is the "
    "single-mask output; a pixel is inside when its logit is above 0",
    "iou_predictions": "predicted IoU of each mask",
    "image_keys": "what all prompts share of the decoder's keys, queries and output projections, "
    "head by head",
    "image_values": "what they share of the values of its attentions to the image, head by head",
    "image_norms": "what they share of the sums of squares in its layer norms",
    "image_features": "what they share of the image tokens, after the first upscaling",
    "mask_tokens": "one vector for each output mask",
    "mask_scale": "factor of image_features in the image tokens as the prompt has changed them",
    "mask_weights": "factors of mask_values in them",
    "mask_values": "vectors that the prompt adds to them, after the first upscaling",
    "images": "RGB in 0-1, scaled to fit, centred and surrounded with grey (114 / 255)",
    "output0": "per place: centre x, centre y, width, height in input pixels, class scores in 0-1, "
    "mask coefficients",
    "output1": "mask prototypes; a mask is their sum weighted with its coefficients, above 0",
}


Specs = tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]


def graph_specs(
    image_size: int, channels: int, *, outputs: int = 4, heads: int = 8, inner: int = 128
) -> dict[str, Specs]:
    """Inputs and outputs of the graph of every role; ``heads`` and ``inner`` are those of the
    decoder's attention to the image. Dynamic dimensions are called as in :func:`numbers`."""
    grid, low = image_size // 16, image_size // 4
    tokens, width = grid * grid, inner // heads
    embeddings = TensorSpec("image_embeddings", (1, channels, grid, grid))
    coords = TensorSpec("point_coords", ("prompts", "points", 2))
    labels = TensorSpec("point_labels", ("prompts", "points"))
    masks = TensorSpec("low_res_masks", ("prompts", outputs, low, low))
    iou = TensorSpec("iou_predictions", ("prompts", outputs))
    # Numbers of them: see samdeploy.models.restructured.
    prepared = (
        TensorSpec("image_keys", (11, heads, width, tokens)),
        TensorSpec("image_values", (3, heads, tokens, width)),
        TensorSpec("image_norms", (3, tokens)),
    )
    features = TensorSpec("image_features", ("rows", "columns", channels))
    wanted = (
        TensorSpec("mask_tokens", ("prompts", outputs, channels)),
        TensorSpec("mask_scale", ("prompts", 1, "positions")),
        TensorSpec("mask_weights", ("prompts", "values", "positions")),
        TensorSpec("mask_values", ("prompts", "values", channels)),
    )
    part = TensorSpec("low_res_masks", ("prompts", outputs, "height", "width"))
    mask_input = TensorSpec("mask_input", ("prompts", 1, low, low))
    has_mask_input = TensorSpec("has_mask_input", ("prompts",))
    return {
        ENCODER: ((TensorSpec("image", (1, 3, image_size, image_size)),), (embeddings,)),
        DECODER: ((embeddings, coords, labels, mask_input, has_mask_input), (masks, iou)),
        PREPARE: ((embeddings,), (*prepared, features)),
        SCORER: ((*prepared, coords, labels), (iou, *wanted)),
        MASK_HEAD: ((features, *wanted), (part,)),
    }


def numbers(
    prompts: int, points: int, grid: int, *, outputs: int = 4, heads: int = 8
) -> dict[str, int]:
    """What the dynamic dimensions are in a call: ``prompts``, ``points`` (tokens of each),
    ``values`` (what the scorer then gives of them), ``positions`` in ``rows`` and ``columns`` of
    image tokens (all; the mask head takes the first of them as well), and ``height`` and ``width``
    of its masks."""
    values = 2 * heads * (outputs + 1 + points) + 1
    image = {"positions": grid * grid, "rows": grid, "columns": grid}
    masks = {"height": 4 * grid, "width": 4 * grid}
    return {"prompts": prompts, "points": points, "values": values, **image, **masks}


#: Names of the inputs and outputs that every backend must offer.
CONTRACT = {
    role: (tuple(spec.name for spec in inputs), tuple(spec.name for spec in outputs))
    for role, (inputs, outputs) in graph_specs(64, 8).items()
} | {
    # Ultralytics' names, so that ONNX files that it exported fit as they are.
    DETECTOR: (("images",), ("output0",)),
    SEGMENTER: (("images",), ("output0", "output1")),
}

_SHAPES = {
    spec.name: spec.shape
    for specs in graph_specs(64, 8).values()
    for spec in (*specs[0], *specs[1])
} | {name: () for role in (DETECTOR, SEGMENTER) for names in CONTRACT[role] for name in names}

_RANKS = {name: len(shape) for name, shape in _SHAPES.items()} | {
    "images": 4,
    "output0": 3,
    "output1": 4,
}
_DTYPES = dict.fromkeys(ALL_ROLES, ("float32",)) | dict.fromkeys(
    (DETECTOR, SEGMENTER), ("float32", "float16")
)
#: Dimensions that may differ from call to call; the other dynamic ones follow from the image.
PER_CALL = ("prompts", "points", "values")

#: Names of the leading dimensions that are dynamic, by tensor.
DYNAMIC = {
    name: tuple(str(side) for side in takewhile(lambda side: isinstance(side, str), shape))
    for name, shape in _SHAPES.items()
}


def dimension(tensor: str, axis: int) -> str:
    """What the contract calls a dynamic dimension, for backends that do not keep names."""
    name = next(iter(_SHAPES.get(tensor, ())[axis:]), None)
    return name if isinstance(name, str) else f"d{axis}"


def needed_roles(roles: Collection[str]) -> tuple[str, ...]:
    """Of the graphs that a model has, those that every model of its family has."""
    lines = [line for family in FAMILIES.values() for line in family]
    return next(line for line in lines if set(line) <= set(roles))


def check_contract(
    found: Mapping[str, Specs], image_size: int, channels: int, source: object
) -> None:
    """Compare the tensors that a manifest tells, by role, with what graphs of an encoder input of
    ``image_size`` pixels and embeddings of ``channels`` have.

    Raises:
        BundleError: they differ; ``source`` is named.
    """
    for role, specs in found.items():
        _check_tensors(role, specs)
    shapes = {spec.name: spec.shape for specs in found.values() for spec in (*specs[0], *specs[1])}
    sides = [side for side in shapes.get("images", ())[2:] if isinstance(side, int)]
    if sides and max(sides) != image_size:
        raise BundleError(
            f"'{source}' is a model of {image_size} pixels and tells images of {sides}; export it "
            "again."
        )
    if ENCODER not in found:
        return
    # These three numbers are told nowhere else; a name in the place of one fits nothing.
    counted = (shapes["low_res_masks"][1], *shapes.get("image_keys", (11, 8, 16, 1))[1:3])
    outputs, heads, width = (side if isinstance(side, int) else 0 for side in counted)
    inner = heads * width
    expected = graph_specs(image_size, channels, outputs=outputs, heads=heads or 1, inner=inner)
    for role, specs in found.items():
        if specs != expected[role]:
            raise BundleError(
                f"'{source}' tells tensors of the {role} graph that no model of {image_size} "
                f"pixels and {channels} channels has; export it again."
            )


def _check_tensors(role: str, found: Specs) -> None:
    """Names, dtypes and ranks, and that the image has a size that can be."""
    for kind, expected, specs in zip(("inputs", "outputs"), CONTRACT[role], found, strict=True):
        names = [spec.name for spec in specs]
        if sorted(names) != sorted(expected):
            raise BundleError(
                f"the {role} graph has {kind} {names}; expected {list(expected)}, export it again."
            )
        for spec in specs:
            largest = max((side for side in spec.shape if isinstance(side, int)), default=0)
            image = spec.name in ("image", "images")
            if (
                spec.dtype not in _DTYPES[role]
                or len(spec.shape) != _RANKS[spec.name]
                or (image and largest > MOST_IMGSZ)
            ):
                raise BundleError(
                    f"the {role} graph has '{spec.name}' {list(spec.shape)} of {spec.dtype}; "
                    f"expected {_RANKS[spec.name]} dimensions of {' or '.join(_DTYPES[role])}"
                    + (f" up to {MOST_IMGSZ}" if image else "")
                    + ", export it again."
                )


def _check_recorded(role: str, found: Specs, recorded: Specs) -> None:
    """Compare a graph with what its manifest tells of it. What is dynamic in only one of them is
    compared when the graph answers."""
    told = {spec.name: spec for side in recorded for spec in side}
    for spec in (*found[0], *found[1]):
        expected = told[spec.name]
        fits = spec.dtype == expected.dtype and all(
            side == wanted if isinstance(wanted, int) else wanted not in PER_CALL
            for side, wanted in zip(spec.shape, expected.shape, strict=True)
            if isinstance(side, int)
        )
        if not fits:
            raise BundleError(
                f"the {role} graph has '{spec.name}' {list(spec.shape)} of {spec.dtype}, its "
                f"manifest tells {list(expected.shape)} of {expected.dtype}; export it again."
            )


class CheckedSession:
    """A session whose feeds are checked for names, dtypes and shapes before they reach the backend,
    and whose answers are when they leave it.

    Args:
        recorded: what the manifest tells of the graph, for one of a bundle.

    Raises (on construction):
        BundleError: the graph does not have the inputs and outputs of its role, or not those that
            are recorded.
    """

    def __init__(self, session: Session, role: str, recorded: Specs | None = None) -> None:
        self.inputs, self.outputs = tuple(session.inputs), tuple(session.outputs)
        found = self.inputs, self.outputs
        _check_tensors(role, found)
        if recorded is not None:
            _check_recorded(role, found, recorded)
        self._session, self._role = session, role
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
        self._check_answer(answer, sizes)
        return answer

    def _check_answer(self, answer: Mapping[str, Array], sizes: dict[str, int]) -> None:
        if "rows" in sizes:  # a mask has four pixels along every side of an image token
            sizes |= {"height": 4 * sizes["rows"], "width": 4 * sizes["columns"]}
        for spec in self._answers:
            array = answer.get(spec.name)
            misfit = "is missing" if array is None else _misfit(spec, array, sizes)
            if misfit:
                raise BundleError(
                    f"the {self._role} graph gave a wrong answer on {self.provider}: "
                    f"'{spec.name}' {misfit}; export it again or choose another device."
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


def check_array(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> None:
    """Compare an array with its spec; ``sizes`` collects what each dynamic dimension is, which must
    be the same everywhere.

    Raises:
        InputError: it does not fit.
    """
    misfit = _misfit(spec, array, sizes)
    if misfit:
        raise InputError(f"'{spec.name}' {misfit}.")


def _misfit(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> str:
    """What is wrong with an array; empty where nothing is."""
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


def spec_of(specs: tuple[TensorSpec, ...], name: str) -> TensorSpec:
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
