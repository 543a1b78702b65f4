"""A bundle or a checkpoint to opened, checked sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samdeploy.bundle import Bundle, is_bundle, read_manifest
from samdeploy.bundle_files import sha256
from samdeploy.checked import CheckedSession
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.contracts import Contract, Specs, fixed_shape
from samdeploy.devices import is_gpu
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError, SamDeployError
from samdeploy.families import Family, families, family_named, family_of_checkpoint, resolve
from samdeploy.graphs import (
    DECODER,
    ENCODER,
    KERNEL_ROLES,
    KERNELS_FILE,
    MASK_HEAD,
    SCORER,
)
from samdeploy.host_prompts import for_points
from samdeploy.options import changed, from_given
from samdeploy.precision import ARITHMETIC, FP32
from samdeploy.preprocess import SAM_STEPS, Preprocess
from samdeploy.registry import (
    CHECKPOINT,
    DECODER_WEIGHTS,
    NOTHING,
    RUNTIMES,
    availability,
    exporter_names,
    load_runtime,
    opener_of,
    runtime_name,
    runtime_names,
)
from samdeploy.session import Runtime, RuntimeOptions
from samdeploy.text import reason
from samdeploy.tuning import Tuning, read_tuning, tuned
from samdeploy.verified import notice_unless_verified, with_arithmetic
from samdeploy.whole_image.settings import GPU_BATCH, WholeImageSettings

#: What is opened here is of this class, or of one that derives from it.
_CLASS = "samdeploy:SAM"


@dataclass(frozen=True)
class OpenedModel:
    """Sessions by role, and what they came from; ``bundle`` is ``None`` for a checkpoint.

    ``whole_image`` are the whole-image settings that the model recommends, and those that it was
    tuned to on this machine; ``tuning`` is what it was opened by, if so.
    ``streams`` calls of a session may run side by side; ``precision`` is the arithmetic of all.
    ``family`` and ``steps`` (how an image becomes encoder input) are those of the bundle, unless
    they are given. ``config`` are the architecture details that were passed for a checkpoint.
    """

    sessions: Mapping[str, CheckedSession]
    source: Path
    runtime: str
    device: str
    bundle: Bundle | None
    whole_image: Mapping[str, Any] = field(default_factory=dict)
    tuning: Tuning | None = None
    streams: int = 1
    precision: str = FP32
    family: str = ""
    steps: Preprocess | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rules(self) -> Family:
        """What all models of the family have in common."""
        own = "sam" if self.bundle is None else self.bundle.manifest.family
        return family_named(self.family or own, self.source)

    @property
    def preprocess(self) -> Preprocess:
        """How an image becomes encoder input."""
        recorded = None if self.bundle is None else self.bundle.manifest.preprocess
        return self.steps or recorded or self.rules.preprocess or SAM_STEPS

    @property
    def image_size(self) -> int:
        """Side ``S`` of the encoder input in pixels."""
        return fixed_shape(self.sessions[ENCODER], "image")[-1]

    @property
    def low_res_side(self) -> int:
        return fixed_shape(self.sessions[DECODER], "image_embeddings")[-1] * 4

    @property
    def encoder_key(self) -> str:
        """A text that two models share only if their embeddings are the same: what the encoder
        was read from and how, which images it gets, and what runs it."""
        if self.bundle is None:
            details = json.dumps(self.config, sort_keys=True, default=str)
            content = f"{sha256(self.source)} {details}"
        else:
            graphs = {graph.role: graph for graph in self.bundle.manifest.graphs}
            content = " ".join(file.sha256 for file in graphs[ENCODER].files)
        return f"{content} {self.image_size} {self.preprocess} {self.sessions[ENCODER].provider}"

    def divided(self) -> OpenedModel:
        """The same for many decoder calls: ``streams`` side by side, on sessions that are opened
        again where that is faster. What was opened again is closed by :meth:`close_but`."""
        roles = (SCORER, MASK_HEAD) if SCORER in self.sessions else (DECODER,)
        streams = min(self.sessions[role].streams for role in roles)
        if streams == 1:
            return self
        with ExitStack() as undo:
            again = dict(self.sessions)
            for role in roles:
                again[role] = self.sessions[role].divided()
                undo.callback(again[role].close)
            undo.pop_all()
        return replace(self, sessions=again, streams=streams)

    def close_but(self, other: OpenedModel) -> None:
        """Close the sessions that ``other`` does not have."""
        for role, session in self.sessions.items():
            if session is not other.sessions[role]:
                session.close()

    def close(self) -> None:
        for session in self.sessions.values():
            session.close()


def class_of(model: str | Path) -> type[Any]:
    """The class that opens ``model``, a bundle folder, an ONNX file or anything else.

    Raises:
        BundleError: a bundle or an ONNX file that cannot be read, or a family that is not known.
    """
    path = Path(model)
    if is_bundle(path):
        family = family_named(read_manifest(path).family, path)
    else:
        opening = (each for each in families().values() if each.opens)
        found = (each for each in opening if resolve(each.opens)(path))
        family = next(found, None) or family_of_checkpoint(path)
    opener: type[Any] = resolve(family.model)
    return opener


def open_model(
    model: str | Path,
    *,
    runtime: str | None = None,
    device: str = "auto",
    options: RuntimeOptions | None = None,
) -> OpenedModel:
    """Open a bundle folder, or a checkpoint by path or known name.

    Args:
        runtime: what to run it with; by default what the bundle was made for, or torch for a
            checkpoint.
        device: one of the runtime's devices; ``auto`` is the one that the bundle was tuned for on
            this machine, else the first that the runtime reports.
        options: those not given are what ``samdeploy tune`` found best on this machine, if it was
            run. Arithmetic that was not asked for is one in which the bundle passed its
            verification: the tuned one, else that of its kernels on a processor that they are for,
            else fp32, else the first; fp32 where none passed. A notice
            says when it has not passed in the arithmetic that was asked for.

    Raises:
        InputError, BundleError, CheckpointError, RuntimeUnavailableError
    """
    options = options or RuntimeOptions()
    path = Path(model)
    tuning = None
    wanted = runtime_name(runtime) if runtime else None
    invented = wanted == opener_of(NOTHING)
    if not invented and is_bundle(path):
        if options.config is not None or options.imgsz is not None:
            raise InputError(
                "config and imgsz are fixed in a bundle; pass them when exporting the checkpoint."
            )
        bundle = Bundle.open(path)
        family = family_named(bundle.manifest.family, path)
        family.check_class(_CLASS, path, bundle.manifest.architecture)
        _check_recommended(bundle)
        name = wanted or own_runtime(bundle)
        graphs = bundle.graphs()
        if wanted is None:
            tuning = read_tuning(path)
    else:
        bundle = None
        name = wanted or opener_of(CHECKPOINT)
        path = path if invented else resolve_checkpoint(model)
        family = family_of_checkpoint(path)
        family.check_class(_CLASS, path)
        roles = family.contract.graphs[-1 if name == opener_of(CHECKPOINT) else 0]
        graphs = dict.fromkeys(roles, path)
    if tuning is not None and device in ("auto", "", tuning.device):
        device, options = tuning.device, tuned(options, tuning)
    else:
        tuning = None
    kernels = bundle is not None and _can_take_kernels(bundle, name, device)
    options = with_arithmetic(options, bundle, tuning, kernels=kernels)
    recorded = None if bundle is None else bundle.specs()
    contract = family.contract
    sessions, used = open_graphs(graphs, name, device, options, recorded, contract)
    precision = options.precision or FP32
    notice_unless_verified(precision, bundle)
    recommended = {**family.whole_image, **_for_device(used, bundle)}
    steps = None
    config: dict[str, Any] = {}
    if bundle is not None:
        recommended |= bundle.manifest.whole_image
        if tuning is not None:
            recommended |= {"points_batch_size": tuning.chosen.points_batch_size}
    elif name == opener_of(CHECKPOINT):
        # Here and not above: only this runtime has torch.
        from samdeploy.models.load import read_config, read_preprocess, read_whole_image

        recommended |= read_whole_image(path)
        config = read_config(options.config)
        steps = read_preprocess(path, config, family.preprocess or SAM_STEPS)
    streams = options.streams or 1
    return OpenedModel(
        sessions, path, name, used, bundle, recommended, tuning, streams, precision, family.name,
        steps, config,
    )  # fmt: skip


def _for_device(device: str, bundle: Bundle | None) -> dict[str, Any]:
    """Whole-image settings that a device likes. More prompts than the graphs were made for would
    only be divided again."""
    if not is_gpu(device):
        return {}
    most = None if bundle is None else bundle.manifest.options.get("max_prompts")
    if not isinstance(most, int) or most < 1:
        most = GPU_BATCH
    return {"points_batch_size": min(GPU_BATCH, most)}


def _check_recommended(bundle: Bundle) -> None:
    """Raise :class:`BundleError` where the manifest's whole-image settings are none."""
    try:
        WholeImageSettings.from_names(bundle.manifest.whole_image)
    except InputError as error:
        raise BundleError(
            f"bundle '{bundle.folder}' recommends settings that cannot be: {error}"
        ) from error


def own_runtime(bundle: Bundle) -> str:
    """The runtime that a bundle was made for. It may come from a machine that has plugins which
    this one lacks.

    Raises:
        BundleError: nothing here provides it, or its format.
    """
    manifest = bundle.manifest
    runtimes = [name for name in runtime_names() if name != opener_of(NOTHING)]
    if manifest.runtime not in runtimes or manifest.format not in exporter_names():
        raise BundleError(
            f"bundle '{bundle.folder}' (format {manifest.format}) is for runtime "
            f"'{manifest.runtime}', which nothing installed here provides; install its plugin "
            "or export the checkpoint to another format."
        )
    return manifest.runtime


def open_graphs(
    graphs: Mapping[str, Path],
    runtime: str,
    device: str,
    options: RuntimeOptions,
    recorded: Mapping[str, Specs] | None = None,
    contract: Contract | None = None,
) -> tuple[dict[str, CheckedSession], str]:
    """Sessions of the given files, and the device that ``auto`` became; they compute in fp32 unless
    told otherwise.

    Args:
        recorded: what the manifest tells of the graphs, for those of a bundle.
        contract: of the model's family, see :class:`~samdeploy.checked.CheckedSession`.
    """
    arithmetic = ARITHMETIC[options.precision or FP32]
    if arithmetic.mixed and ENCODER not in graphs:
        raise InputError(
            f"precision={options.precision}; a model of {', '.join(graphs)} has no encoder, pass "
            f"precision={arithmetic.encoder} or leave it out."
        )
    loaded = load_runtime(runtime)
    if not isinstance(options, loaded.Options):
        options = from_given(loaded.Options, changed(options), f"runtime '{runtime}'")
    state = availability(RUNTIMES, runtime)
    if not state.usable:
        raise RuntimeUnavailableError(
            f"runtime '{runtime}' is not usable here: {state.reason}; {state.install}."
        )
    for path in graphs.values():
        if loaded.suffixes and path.suffix not in loaded.suffixes:
            raise InputError(
                f"runtime '{runtime}' does not open '{path.name}'; expected a file ending in "
                f"{' or '.join(loaded.suffixes)}."
            )
    chosen = state.devices[0] if device in ("auto", "") else device
    opener = loaded()
    kernels = _kernels(graphs, chosen, options) if arithmetic.kernels else None
    encoder, rest = (
        replace(options, precision=name) for name in (arithmetic.encoder, arithmetic.rest)
    )
    sessions: dict[str, CheckedSession] = {}
    with ExitStack() as undo:  # of a graph that cannot be opened, those before it are closed
        for role, path in graphs.items():
            own = encoder if role == ENCODER else rest
            by, file = opener, path
            if kernels is not None and role in KERNEL_ROLES:
                by, file = kernels, path.with_name(KERNELS_FILE)
            try:
                session = by.open(file, role, device=chosen, options=own)
            except SamDeployError:
                raise
            except Exception as error:  # every library has its own
                raise BundleError(
                    f"runtime '{runtime}' cannot open '{path}' ({reason(error)}); export it again "
                    "or choose another device."
                ) from error
            undo.callback(session.close)
            session = for_points(session, path)
            told = None if recorded is None else recorded[role]
            sessions[role] = CheckedSession(session, role, told, contract)
        undo.pop_all()
    return sessions, chosen


def _can_take_kernels(bundle: Bundle, runtime: str, device: str) -> bool:
    if bundle.manifest.kernels is None:
        return False
    found = availability(RUNTIMES, runtime).devices
    chosen = found[0] if device in ("auto", "") and found else device
    return chosen == "cpu" and availability(RUNTIMES, opener_of(DECODER_WEIGHTS)).usable


def _kernels(graphs: Mapping[str, Path], device: str, options: RuntimeOptions) -> Runtime:
    """What opens the graphs of :data:`KERNEL_ROLES` in the place of the bundle's runtime.

    Raises:
        InputError: these are not the graphs of a bundle with kernels, or not for a processor.
        RuntimeUnavailableError: the kernels cannot run here.
    """
    asked = f"precision={options.precision}"
    if SCORER not in graphs or not graphs[SCORER].with_name(KERNELS_FILE).is_file():
        raise InputError(
            f"{asked}; the model was exported without kernels, export it again with kernels=True."
        )
    if device != "cpu":
        raise InputError(
            f"{asked} device={device}; the kernels run on the processor, pass device=cpu."
        )
    state = availability(RUNTIMES, opener_of(DECODER_WEIGHTS))
    if not state.usable:
        raise RuntimeUnavailableError(
            f"{asked} is not usable here: {state.reason}; {state.install}."
        )
    return load_runtime(opener_of(DECODER_WEIGHTS))()
