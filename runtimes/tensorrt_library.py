"""The two TensorRT libraries behind one seam.

**TensorRT** builds an engine on the GPU that it is for, by timing kernels there. **TensorRT-RTX**
builds without a GPU for several generations of them, and compiles the kernels where the engine is
opened. Their Python modules are nearly the same (``Library.trt``); what differs is in this file.
"""

from __future__ import annotations

import platform
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from samdeploy.cuda_driver import find_gpus
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.files import atomic_path
from samdeploy.libraries import ANY_FAILURE
from samdeploy.options import option
from samdeploy.session import ExportOptions

INSTALL = "pip install 'samdeploy[tensorrt]'"
#: The platform of engines that open on every operating system.
ANY_PLATFORM = "any"


@dataclass(frozen=True)
class BuilderOptions(ExportOptions):
    """How an engine is built."""

    tf32: bool = option(False, "let tensor cores round float32 products to 10 bits of mantissa")
    workspace: float | None = option(None, "most scratch memory of an engine, GiB")
    compute_capability: str = option("", "GPU generations to build for, as 8.6,8.9")
    timing_cache: str = option("", "file that keeps the builder's measurements for the next build")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workspace is not None and not self.workspace > 0:
            raise InputError(f"workspace={self.workspace}; expected GiB above 0.")


@dataclass(frozen=True)
class Target:
    """The GPUs that an engine is built for; ``device`` is the GPU's name, empty when it is for
    several."""

    compute_capabilities: tuple[str, ...]
    platform: str
    device: str = ""


class Library(ABC):
    """One of the two; making it imports it, which raises anything where it is broken."""

    name: ClassVar[str]
    title: ClassVar[str]
    #: What ``library=`` calls it.
    short: ClassVar[str]
    #: Whether it captures CUDA graphs of its own accord.
    captures_graphs: ClassVar[bool]

    def __init__(self) -> None:
        self.trt = self._import()

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @classmethod
    @abstractmethod
    def _import(cls) -> Any: ...

    @abstractmethod
    def why_not_build(self) -> str:
        """Why it cannot build on this machine; empty when it can."""

    @abstractmethod
    def target(self, options: BuilderOptions) -> Target:
        """The target of a build with these options.

        Raises:
            InputError: it cannot heed one of them here.
        """

    @abstractmethod
    def prompt_profiles(self, most: int) -> tuple[tuple[int, int, int], ...]:
        """Smallest, likeliest and largest number of prompts of each optimisation profile."""

    @abstractmethod
    def configure(self, config: Any, options: BuilderOptions) -> None:
        """Set what only this library knows on a builder configuration."""

    @abstractmethod
    def finish(self, config: Any, options: BuilderOptions) -> None:
        """After a build: keep what is worth keeping."""

    @abstractmethod
    def create_context(
        self, engine: Any, cache: Path | None
    ) -> tuple[Any, Callable[[], None] | None]:
        """An execution context (``None`` when it was refused), and what stores the compiled
        kernels in ``cache`` afterwards."""


class TensorRt(Library):
    name = "tensorrt"
    title = "TensorRT"
    short = "tensorrt"
    captures_graphs = False

    @classmethod
    def _import(cls) -> Any:
        import tensorrt

        return tensorrt

    def why_not_build(self) -> str:
        gpus, reason = find_gpus()
        return "" if gpus else f"{self.title} builds on the GPU that an engine is for, and {reason}"

    def target(self, options: BuilderOptions) -> Target:
        gpu = find_gpus()[0][0]
        if options.compute_capability not in ("", gpu.capability):
            raise InputError(
                f"compute_capability={options.compute_capability}; TensorRT builds for the GPU at "
                f"hand, which is {gpu.capability}: leave it out, or pass library=rtx ({INSTALL})."
            )
        return Target((gpu.capability,), this_platform(), gpu.name)

    def prompt_profiles(self, most: int) -> tuple[tuple[int, int, int], ...]:
        # Kernels are chosen when the engine is built: one set for a click, one for many prompts.
        return ((1, 1, 1), (1, most, most)) if most > 1 else ((1, 1, 1),)

    def configure(self, config: Any, options: BuilderOptions) -> None:
        if options.timing_cache:
            path = Path(options.timing_cache)
            known = path.read_bytes() if path.is_file() else b""
            cache = config.create_timing_cache(known)
            if cache is None or not config.set_timing_cache(cache, False):
                raise InputError(
                    f"timing_cache='{path}' is not one of this TensorRT and GPU; give another name."
                )

    def finish(self, config: Any, options: BuilderOptions) -> None:
        if options.timing_cache:
            with atomic_path(Path(options.timing_cache)) as temporary:
                temporary.write_bytes(config.get_timing_cache().serialize())

    def create_context(
        self, engine: Any, cache: Path | None
    ) -> tuple[Any, Callable[[], None] | None]:
        if cache is not None:
            raise InputError(
                f"cache={str(cache.parent)!r}; a TensorRT engine is complete, leave it out."
            )
        # Memory for the shapes of its own profile; by default each context reserves that of all.
        strategy = self.trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        return engine.create_execution_context(strategy), None


class TensorRtRtx(Library):
    name = "tensorrt_rtx"
    title = "TensorRT-RTX"
    short = "rtx"
    captures_graphs = True

    #: What an engine runs on unless told otherwise.
    default_capabilities: ClassVar[tuple[str, ...]] = ("8.0", "8.6", "8.9", "12.0", "12.1")

    @classmethod
    def _import(cls) -> Any:
        import tensorrt_rtx_bindings  # loads the libraries of its sister package

        return tensorrt_rtx_bindings

    def why_not_build(self) -> str:
        return ""

    def target(self, options: BuilderOptions) -> Target:
        if options.timing_cache:
            raise InputError(
                f"timing_cache={options.timing_cache}; TensorRT-RTX times nothing when it builds, "
                "leave it out."
            )
        if not options.compute_capability:
            return Target(self.default_capabilities, ANY_PLATFORM)
        known = self._known_capabilities()
        wanted = tuple(text.strip() for text in options.compute_capability.split(","))
        for text in wanted:
            if text not in known:
                raise InputError(
                    f"compute_capability={options.compute_capability}; expected one or more of "
                    f"{', '.join(known)}, separated by commas."
                )
        return Target(wanted, ANY_PLATFORM)

    def _known_capabilities(self) -> dict[str, Any]:
        """``8.6`` for the member ``SM86``, and so on. Not Turing (7.5): the library has no
        float32 matrix products for it, which coordinates need in float16 engines as well."""
        members = self.trt.ComputeCapability.__members__.items()
        return {
            f"{int(name[2:]) // 10}.{int(name[2:]) % 10}": member
            for name, member in members
            if name.startswith("SM") and name != "SM75"
        }

    def prompt_profiles(self, most: int) -> tuple[tuple[int, int, int], ...]:
        # Kernels are compiled for the shapes that come: a second profile would only double the
        # engine.
        return ((1, most, most),)

    def configure(self, config: Any, options: BuilderOptions) -> None:
        if options.compute_capability:
            known = self._known_capabilities()
            wanted = self.target(options).compute_capabilities
            config.num_compute_capabilities = len(wanted)
            for index, text in enumerate(wanted):
                config.set_compute_capability(known[text], index)

    def finish(self, config: Any, options: BuilderOptions) -> None:
        """Nothing is measured, so nothing is kept."""

    def create_context(
        self, engine: Any, cache: Path | None
    ) -> tuple[Any, Callable[[], None] | None]:
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if cache is None:
            return engine.create_execution_context(config), None
        kernels = config.create_runtime_cache()
        try:
            # Of another GPU or driver it is refused, and replaced when the session closes.
            known = cache.read_bytes() if cache.is_file() else b""
        except OSError as error:
            raise InputError(
                f"cache='{cache.parent}': '{cache.name}' cannot be read ({error.strerror}); give "
                "another folder."
            ) from error
        if known:
            kernels.deserialize(known)
        if not config.set_runtime_cache(kernels):
            _warn_of(cache, "the library refused its cache")

        def store() -> None:
            try:
                with atomic_path(cache) as temporary:
                    temporary.write_bytes(kernels.serialize())
            except (InputError, OSError, TypeError) as error:  # TypeError: it gave nothing
                _warn_of(cache, str(error))

        return engine.create_execution_context(config), store


def _warn_of(cache: Path, reason: str) -> None:
    warnings.warn(
        f"compiled kernels are not kept in '{cache}' ({reason}); the next start compiles them "
        "again.",
        RuntimeWarning,
        stacklevel=3,
    )


LIBRARIES: tuple[type[Library], ...] = (TensorRt, TensorRtRtx)


def installed_libraries() -> list[Library]:
    found = []
    for library in LIBRARIES:
        try:
            found.append(library())
        except ANY_FAILURE:
            continue
    return found


def building_library(wanted: str = "") -> Library:
    """The one that builds here: TensorRT where there is a GPU for it, else TensorRT-RTX; or the
    ``wanted`` one, ``tensorrt`` or ``rtx``.

    Raises:
        InputError: none is called that.
        RuntimeUnavailableError: it is not installed, or cannot build on this machine.
    """
    known = {library.short: library for library in LIBRARIES}
    if wanted and wanted not in known:
        raise InputError(f"library={wanted}; expected one of {', '.join(known)}.")
    chosen = [known[wanted]] if wanted else LIBRARIES
    libraries = [each for each in installed_libraries() if type(each) in chosen]
    reasons = {library: library.why_not_build() for library in libraries}
    for library, reason in reasons.items():
        if not reason:
            return library
    missing = (
        f"library={wanted}: {known[wanted].title} is not installed; install it or leave library out"
        if wanted
        else "neither TensorRT nor TensorRT-RTX is installed"
    )
    raise RuntimeUnavailableError("; ".join(reasons.values()) or missing)


def this_platform() -> str:
    """Operating system and processor, such as ``linux-x86_64``."""
    return f"{sys.platform}-{platform.machine().lower()}"


@lru_cache
def logger(trt: Any) -> Any:
    """The logger of a module. The libraries know one per process, so errors of every builder and
    runtime come together in its ``errors``."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        def take(self) -> str:
            """The errors since the last call, as one line."""
            text = "; ".join(" ".join(message.split()) for message in self.errors)
            self.errors.clear()
            return text or "no reason given"

    return Log()
