"""Checkpoint to verified bundle: options, graphs, comparison, manifest, rename."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from samdeploy.bundle import (
    Bundle,
    SourceRecord,
    VerificationRecord,
    new_bundle,
    write_manifest,
)
from samdeploy.bundle_files import sha256
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.golden import golden_answer
from samdeploy.exporting.host_prompts import take_tokens
from samdeploy.exporting.int8_repair import Attempt, nearest, repair, repairable
from samdeploy.exporting.kernels import check_kernels, write_kernels
from samdeploy.exporting.lay_out import flavour_of, lay_out
from samdeploy.exporting.layer_names import check_layers
from samdeploy.exporting.options import chosen_options
from samdeploy.exporting.record import artifact_metadata, manifest_of, source_record
from samdeploy.exporting.verify import Reference, check, compare, usable_runtime
from samdeploy.exporting.verify_sam import LONGEST_PROMPT
from samdeploy.families import family_named
from samdeploy.files import UNFINISHED
from samdeploy.graphs import ENCODER, ROLES
from samdeploy.layouts import Layout, LayoutExporter, new_layout
from samdeploy.options import options_of
from samdeploy.precision import FP32, KERNELS
from samdeploy.registry import EXPORTERS, availability, load_exporter
from samdeploy.schemes import gate, scheme_of
from samdeploy.session import Exporter, ExportOptions, Graph

if TYPE_CHECKING:
    from samdeploy.models.loaded import ModelFacts

_MODES = ("error", "warn", "off")


def export(
    model: str | Path,
    format: str = "onnx",
    *,
    output: str | Path | None = None,
    imgsz: int | None = None,
    config: Mapping[str, Any] | str | Path | None = None,
    preprocess: Mapping[str, Any] | str | Path | None = None,
    verify: str = "error",
    tolerance: float | None = None,
    device: str = "auto",
    trust: bool = False,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Path:
    """Write the bundle of a checkpoint and return its folder.

    Args:
        model: a checkpoint by path or known name.
        format: what to export to; ``samdeploy formats`` lists them.
        output: folder of the bundle; by default ``<name>_<format>`` in the current folder, with
            the name of a layout instead where one is asked for.
        imgsz: side of the encoder input in pixels; by default the checkpoint's.
        config: architecture details that tensor shapes cannot tell.
        preprocess: how the model was trained to see images, where it is not as its family does:
            ``medsam``, ``sam``, ``sam2``, or what differs as a mapping or a JSON file; see
            :class:`samdeploy.preprocess.Preprocess`. The bundle records it, and runtimes heed it.
        verify: ``error`` (a bundle that misses its tolerance is not written), ``warn`` or ``off``.
            Where no runtime for the format works on this machine, the manifest says so.
        tolerance: smallest mean mask IoU against torch; by default 0.999 for float32, 0.995 for
            float16 and bf16, and 0.97 for int8 and palettes.
        device: device that the verification runs on.
        trust: load an Ultralytics checkpoint (through that package, AGPL-3.0), although loading it
            executes code of the file. No other checkpoint needs it.
        progress: called with a line of text at every step.
        options: ``opset``, ``half``, ``bf16``, ``int8`` and what else the format heeds; see
            :class:`samdeploy.session.ExportOptions`.

    An int8 bundle that misses its tolerance is exported again with the worst layers in float, which
    ``float_layers`` in the manifest's options names; what then fails says which option passes.

    With ``layout=`` the folder holds the files of another tool instead of a bundle, compared as
    that tool uses them; see :mod:`samdeploy.layouts`.

    Raises:
        SamDeployError: any subclass; nothing is left behind.
    """
    if verify not in _MODES:
        raise InputError(f"verify='{verify}'; expected one of {', '.join(_MODES)}.")
    exporter = load_exporter(format)
    state = availability(EXPORTERS, format)
    if not state.usable:
        raise RuntimeUnavailableError(
            f"format '{format}' cannot be exported here: {state.reason}; {state.install}."
        )
    chosen = chosen_options(exporter, options)
    gate(chosen.precision, tolerance=tolerance)
    most = getattr(chosen, "max_points", 0)
    if verify != "off" and 0 < most < LONGEST_PROMPT:
        raise InputError(
            f"max_points={most}; the verification asks prompts of {LONGEST_PROMPT} tokens (points, "
            f"box corners, padding), pass {LONGEST_PROMPT} or more, or verify=off."
        )
    if Path(model).is_dir():
        raise InputError(f"'{model}' is a folder; export takes a checkpoint file or a known name.")
    checkpoint = resolve_checkpoint(model)
    if preprocess is not None:
        from samdeploy.models.load import read_config  # here: it needs torch, as what follows does

        config = {**read_config(config), "preprocess": preprocess}
    layout = _layout_of(exporter, chosen)
    kind = layout.name if layout else exporter.name
    folder = Path(output) if output else Path(f"{checkpoint.stem}_{kind}")
    say = progress or (lambda line: None)
    with (new_layout if layout else new_bundle)(folder) as temporary:
        # A layout writes into a folder of its own, where no name is taken.
        graphs = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=temporary)) if layout else temporary
        build = _Build(
            model=model,
            reference=Reference(checkpoint, config, imgsz, trust),
            exporter=exporter,
            folder=graphs,
            mode=verify,
            tolerance=tolerance,
            device=device,
            say=say,
            layout=layout,
        )
        attempt = build.accurate(chosen)
        manifest = manifest_of(graphs, exporter, attempt)
        write_manifest(graphs, manifest)
        if layout:
            lay_out(
                layout,
                flavour_of(layout, attempt.facts, model),
                Bundle(graphs, manifest),
                build.reference,
                temporary,
                mode=verify,
                tolerance=tolerance,
                say=say,
            )
            shutil.rmtree(graphs)
    return folder


def _layout_of(exporter: type[Exporter], options: ExportOptions) -> Layout | None:
    name = getattr(options, "layout", "")
    return cast(LayoutExporter, exporter).find_layout(name) if name else None


@dataclass(frozen=True)
class _Build:
    """Exports of one checkpoint to one format, each into the same folder in the place of the one
    before."""

    model: str | Path
    reference: Reference
    exporter: type[Exporter]
    folder: Path
    mode: str
    tolerance: float | None
    device: str
    say: Callable[[str], None]
    layout: Layout | None = None

    def accurate(self, chosen: ExportOptions) -> Attempt:
        """An export that passes its gate, if ``mode`` asks for one.

        Raises:
            VerificationError: none does, with what to ask for instead.
        """
        if _calibrated(chosen) and not getattr(chosen, "data", ""):
            self.say(
                "warning: calibrating int8 with generated scenes; images of your own task are "
                "better: data=FOLDER"
            )
        attempt = self(chosen)
        if self.mode == "error" and attempt.record.ran and not attempt.record.passed:
            if repairable(chosen):
                attempt = repair(attempt, self, partial(self._rank, chosen), self.say)
            if not attempt.record.passed:
                check(attempt.record, nearest(chosen, self))
        if self.mode == "error":
            for record in attempt.further:
                check(record, "leave kernels out")
        return attempt

    def __call__(self, options: ExportOptions) -> Attempt:
        """Write the graphs, and compare them with the reference."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        graphs, facts, options = self._written(options)
        record = VerificationRecord(passed=False, mode="off")
        further: tuple[VerificationRecord, ...] = ()
        runtime, why_none = usable_runtime(self.exporter.runtimes)
        if self.mode != "off" and runtime is None:
            record = VerificationRecord(passed=False, mode="not run", note=why_none)
        elif self.mode != "off" and runtime is not None:
            compared = partial(
                compare,
                self.reference,
                {graph.role: self.folder / graph.files[0] for graph in graphs},
                family_named(facts.family, self.model),
                runtime,
                precision=options.precision,
                tolerance=self.tolerance,
                whole_image=facts.whole_image,
                say=self.say,
                mode=self.mode,
                preprocess=facts.preprocess,
            )
            record = compared(device=self.device, arithmetic=FP32)
            if _has_kernels(options):
                self.say("comparing what the kernels answer")
                further = (compared(device="cpu", arithmetic=KERNELS),)
        return Attempt(options, facts, self._source(facts), graphs, record, further)

    def _written(
        self, options: ExportOptions
    ) -> tuple[tuple[Graph, ...], ModelFacts, ExportOptions]:
        """The graphs. The model is gone when they are written: its reference reads the checkpoint
        again, one copy at a time."""
        self.say(f"reading {self.reference.checkpoint.name}")
        loaded = self.reference.load()
        facts, scheme = loaded.facts, scheme_of(options)
        family = family_named(facts.family, self.model)
        if self.layout:
            flavour_of(self.layout, facts, self.model)  # what it does not take is not exported
        facts = dataclasses.replace(
            facts,
            whole_image={**family.whole_image, **facts.whole_image},
            golden=golden_answer(loaded, family),
        )
        image_input = getattr(options, "image_input", False)
        if (scheme.encoder_only or image_input) and ENCODER not in loaded.graphs:
            asked = scheme.words if scheme.encoder_only else "image_input=True"
            raise InputError(
                f"{asked}; it is for an image encoder and '{self.model}' is a "
                f"{facts.architecture} model without one, leave it out."
            )
        kept = getattr(options, "float_layers", ())
        if kept:
            check_layers(kept, loaded.layers)
        if _has_kernels(options):
            check_kernels(loaded.graphs, family, self.model)
        metadata = artifact_metadata(facts, self._source(facts))
        options = dataclasses.replace(options, metadata=metadata)
        self.say(f"exporting {facts.architecture} to {self.exporter.name}, {options.precision}")
        write = self.exporter().export
        graphs = loaded.graphs
        if _has_kernels(options):
            write_kernels(graphs, facts.image_size, self.folder)
        if getattr(options, "host_prompts", False):
            graphs = take_tokens(graphs, self.folder, self.model)
        # Other tools know no split decoder.
        roles = [role for role in graphs if not self.layout or role in ROLES]
        return tuple(write(graphs[role], self.folder, options) for role in roles), facts, options

    @cached_property
    def _digest(self) -> str:
        return sha256(self.reference.checkpoint)

    def _source(self, facts: ModelFacts) -> SourceRecord:
        return source_record(self.model, self.reference.checkpoint, self._digest, facts.licence)

    def _rank(self, options: ExportOptions) -> Mapping[str, float]:
        """Error of the embedding by layer of the encoder in 8 bits, the worst first; empty where
        the model's family cannot tell."""
        loaded = self.reference.load()
        if loaded.sensitivity is None:
            return {}
        data = getattr(options, "data", "")
        encoder = loaded.graphs[ENCODER]
        images = islice(calibration_inputs(data, encoder.image_size, encoder.preprocess), 2)
        return loaded.sensitivity([*images], activations=_calibrated(options))


def _has_kernels(options: ExportOptions) -> bool:
    return bool(getattr(options, "kernels", False))


def _calibrated(options: ExportOptions) -> bool:
    """Whether images are looked at while activations become 8-bit."""
    known = scheme_of(options).calibrates and "data" in options_of(type(options))
    return bool(getattr(options, "calibrated", known))
