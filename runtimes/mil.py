"""Evaluates Core ML packages operator by operator, on any system: the check without a Mac.

The package is read back from disk with its weights and executed as written, in torch. What the
program declares as float16 is rounded to float16 after every operator; sums inside an operator are
float32. Slow and exact, for checking and not for use. An unknown operator is an error.
Specification: the operators of coremltools' MIL, ``iOS16`` and later.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import tensor_names
from samdeploy.fixed_shapes import FixedShapes, variant_paths
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec

# Away from macOS coremltools warns at import that it cannot predict; the availability says so.
logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools as ct  # noqa: E402
from coremltools.converters.mil.frontend.milproto.load import load as load_program  # noqa: E402
from coremltools.converters.mil.mil import types  # noqa: E402

Value = Any  # a tensor, a number, a string, or a list of tensors
Arguments = Mapping[str, Value]


class MilRuntime:
    name: ClassVar[str] = "mil"
    suffixes: ClassVar[tuple[str, ...]] = (".mlpackage",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("cpu",), version=ct.__version__)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "cpu":
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of runtime 'mil', which checks packages on the cpu; "
                "runtime=coreml runs them, on macOS."
            )
        options.refuse_all_but(runtime=self.name)
        return FixedShapes([MilSession(path, role) for path in variant_paths(graph)])


class MilSession:
    def __init__(self, package: Path, role: str) -> None:
        try:
            spec = ct.utils.load_spec(str(package))
            weights = package / "Data" / "com.apple.CoreML" / "weights"
            program = load_program(spec, spec.specificationVersion, file_weights_dir=str(weights))
        except Exception as error:  # protobuf, file and MIL errors alike
            raise BundleError(
                f"'{package}' is not a readable ML Program ({error}); export it again."
            ) from error
        main = program.functions["main"]
        self._operations: tuple[Any, ...] | None = tuple(main.operations)
        unknown = {op.op_type for op in main.operations} - {"const", *_OPERATORS}
        if unknown:
            raise BundleError(
                f"'{package}' uses {sorted(unknown)}, which runtime 'mil' does not know; add it to "
                "runtimes/mil.py."
            )
        # The program lists its inputs in any order; the contract has one.
        inputs, outputs = tensor_names(role)
        self._outputs = {var.name: var for var in main.outputs}
        self.inputs = tuple(
            _spec(name, main.inputs[name]) for name in inputs if name in main.inputs
        )
        self.outputs = tuple(
            _spec(name, self._outputs[name]) for name in outputs if name in self._outputs
        )

    @property
    def provider(self) -> str:
        return "MIL evaluator"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        operations = self._operations
        if operations is None:
            raise InputError("the session is closed; open the model again.")
        # Copied, because torch knows no read-only tensors and some arrays are.
        values: dict[str, Value] = {k: torch.from_numpy(v.copy()) for k, v in feeds.items()}
        for operation in operations:
            if operation.op_type == "const":
                continue
            arguments = {
                name: _value(given, values)
                for name, given in operation.inputs.items()
                if given is not None
            }
            result = _OPERATORS[operation.op_type](arguments)
            results = result if isinstance(result, tuple) else (result,)
            for var, found in zip(operation.outputs, results, strict=True):
                if tuple(found.shape) != tuple(var.shape):
                    raise BundleError(
                        f"'{var.name}' came out as {list(found.shape)}, the program says "
                        f"{list(var.shape)}; export the package again."
                    )
                values[var.name] = _rounded(found, var.dtype)
        return {name: values[name].float().numpy().copy() for name in self._outputs}

    def close(self) -> None:
        self._operations = None


def _spec(name: str, var: Any) -> TensorSpec:
    return TensorSpec(name, tuple(int(side) for side in var.shape), _numpy_name(var.dtype))


def _numpy_name(dtype: Any) -> str:
    return str(np.dtype(types.nptype_from_builtin(dtype)))


def _value(given: Any, values: Mapping[str, Value]) -> Value:
    """An argument: computed before, a list of such, or a constant of the program."""
    if isinstance(given, (list, tuple)):
        return [_value(each, values) for each in given]
    if given.name in values:
        return values[given.name]
    constant = given.val
    if isinstance(constant, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(constant))
    return constant


def _rounded(found: Tensor, dtype: Any) -> Tensor:
    return found.to(getattr(torch, _numpy_name(dtype)))


def _wide(value: Value) -> Value:
    """float16 as float32: operators compute wide, their results are rounded."""
    if isinstance(value, Tensor) and value.dtype == torch.float16:
        return value.float()
    return float(value) if isinstance(value, np.floating) else value


def _ints(value: Value) -> list[int]:
    return [int(each) for each in value]


def _binary(function: Callable[[Any, Any], Tensor]) -> Callable[[Arguments], Tensor]:
    def run(a: Arguments) -> Tensor:
        x, y = (v if isinstance(v, Tensor) else torch.tensor(v) for v in (a["x"], a["y"]))
        return function(_wide(x), _wide(y))

    return run


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(_wide(a["x"]))


def _reduction(function: Callable[..., Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(_wide(a["x"]), _ints(a["axes"]), keepdim=bool(a["keep_dims"]))


def _paddings(a: Arguments) -> list[int]:
    """``[top, bottom, left, right]``; MIL's ``valid`` means none."""
    if a["pad_type"] == "valid":
        return [0, 0, 0, 0]
    if a["pad_type"] != "custom":
        raise BundleError(f"pad_type '{a['pad_type']}' is not known to runtime 'mil'.")
    return _ints(a["pad"])


def _conv(a: Arguments) -> Tensor:
    top, bottom, left, right = _paddings(a)
    x = F.pad(_wide(a["x"]), (left, right, top, bottom))
    strides, dilations = _ints(a["strides"]), _ints(a["dilations"])
    return F.conv2d(
        x, _wide(a["weight"]), _wide(a.get("bias")), strides, 0, dilations, int(a["groups"])
    )


def _conv_transpose(a: Arguments) -> Tensor:
    if any(_paddings(a)):
        raise BundleError("conv_transpose with padding is not known to runtime 'mil'.")
    strides, dilations = _ints(a["strides"]), _ints(a["dilations"])
    return F.conv_transpose2d(
        _wide(a["x"]), _wide(a["weight"]), _wide(a.get("bias")), strides,
        groups=int(a["groups"]), dilation=dilations,
    )  # fmt: skip


def _upsample_nearest_neighbor(a: Arguments) -> Tensor:
    factors = [float(a[f"scale_factor_{side}"]) for side in ("height", "width")]
    return F.interpolate(_wide(a["x"]), scale_factor=factors, mode="nearest")


def _matmul(a: Arguments) -> Tensor:
    x, y = _wide(a["x"]), _wide(a["y"])
    x = x.transpose(-1, -2) if a["transpose_x"] else x
    y = y.transpose(-1, -2) if a["transpose_y"] else y
    return torch.matmul(x, y)


def _attention(a: Arguments) -> Tensor:
    query, key, value = (_wide(a[name]) for name in ("query", "key", "value"))
    return F.scaled_dot_product_attention(query, key, value, _wide(a.get("attn_mask")))


def _layer_norm(a: Arguments) -> Tensor:
    x = _wide(a["x"])
    shape = [x.shape[axis] for axis in _ints(a["axes"])]
    epsilon = float(a["epsilon"])
    return F.layer_norm(x, shape, _wide(a.get("gamma")), _wide(a.get("beta")), epsilon)


def _gelu(a: Arguments) -> Tensor:
    if a["mode"] != "EXACT":
        raise BundleError(f"gelu mode '{a['mode']}' is not known to runtime 'mil'.")
    return F.gelu(_wide(a["x"]))


def _pad(a: Arguments) -> Tensor:
    if a["mode"] != "constant":
        raise BundleError(f"pad mode '{a['mode']}' is not known to runtime 'mil'.")
    # MIL lists (before, after) from the first padded axis to the last, torch from the last.
    pairs = torch.as_tensor(a["pad"]).reshape(-1, 2).flip(0).flatten()
    return F.pad(_wide(a["x"]), _ints(pairs), value=float(a["constant_val"]))


def _slice_by_index(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    count = x.dim()
    stride = _ints(a["stride"]) if "stride" in a else [1] * count
    masks = {
        name: [bool(m) for m in a[name]] if name in a else [False] * count
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    }
    index: list[int | slice] = []
    for axis, (begin, end) in enumerate(zip(_ints(a["begin"]), _ints(a["end"]), strict=True)):
        if masks["squeeze_mask"][axis]:
            index.append(begin)
        else:
            first = None if masks["begin_mask"][axis] else begin
            last = None if masks["end_mask"][axis] else end
            index.append(slice(first, last, stride[axis]))
    return x[tuple(index)]


def _split(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = a["x"], int(a["axis"])
    equal = x.shape[axis] // int(a.get("num_splits", 1))
    return tuple(torch.split(x, _ints(a["split_sizes"]) if "split_sizes" in a else equal, axis))


def _concat(a: Arguments) -> Tensor:
    if a["interleave"]:
        raise BundleError("concat with interleave is not known to runtime 'mil'.")
    return torch.cat([_wide(v) for v in a["values"]], int(a["axis"]))


def _expand_dims(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    rank = x.dim() + len(a["axes"])
    for axis in sorted(int(axis) % rank for axis in a["axes"]):
        x = x.unsqueeze(axis)
    return x


def _squeeze(a: Arguments) -> Tensor:
    x: Tensor = a["x"]
    return x.squeeze(tuple(_ints(a["axes"])))


def _affine_dequantize(a: Arguments) -> Tensor:
    """8-bit weights, widened: ``(data - zero_point) * scale``, along one axis or all in one."""
    data: Tensor = a["quantized_data"]
    shape = [1] * data.dim()
    shape[int(a["axis"])] = -1

    def along(value: Value) -> Tensor:
        given = torch.as_tensor(value)
        return given.float().reshape(shape if given.dim() else [1] * data.dim())

    return (data.float() - along(a["zero_point"])) * along(a["scale"])


def _blockwise_shift_scale(a: Arguments) -> Tensor:
    """The same from iOS 18 on: a scale and perhaps an offset for every block of the data."""
    data: Tensor = a["data"].float()

    def spread(value: Tensor) -> Tensor:
        wide = value.float()
        for axis, (side, blocks) in enumerate(zip(data.shape, value.shape, strict=True)):
            wide = wide.repeat_interleave(side // blocks, axis)
        return wide

    offset = spread(a["offset"]) if "offset" in a else 0
    return (data - offset) * spread(a["scale"])


def _lut_to_dense(a: Arguments) -> Tensor:
    """Weights by their numbers in a palette, which are packed without gaps, lowest bits first. From
    iOS 18 on they have a shape, and a layer may have several palettes."""
    palette = torch.as_tensor(a["lut"])
    if "shape" not in a:
        if palette.numel() != palette.shape[-2]:
            raise BundleError("several palettes for one layer are not known to runtime 'mil'.")
        return palette.flatten()[torch.from_numpy(np.asarray(a["indices"], np.int64))]
    shape = _ints(a["shape"])
    width = (len(palette) - 1).bit_length()
    bits = np.unpackbits(np.asarray(a["indices"], np.uint8), bitorder="little")
    numbers = bits[: width * math.prod(shape)].reshape(-1, width) @ (1 << np.arange(width))
    return palette[torch.from_numpy(numbers)].reshape(shape)


_CASTS = {"fp32": torch.float32, "fp16": torch.float16, "int32": torch.int32, "bool": torch.bool}

_OPERATORS: dict[str, Callable[[Arguments], Tensor | tuple[Tensor, ...]]] = {
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "real_div": _binary(torch.div),
    "equal": _binary(torch.eq),
    "greater_equal": _binary(torch.ge),
    "sin": _unary(torch.sin),
    "cos": _unary(torch.cos),
    "exp": _unary(torch.exp),
    "rsqrt": lambda a: torch.rsqrt(_wide(a["x"]) + float(a["epsilon"])),
    "reduce_mean": _reduction(torch.mean),
    "reduce_sum": _reduction(torch.sum),
    "reduce_max": _reduction(torch.amax),
    "fill_like": lambda a: torch.full_like(_wide(a["ref_tensor"]), float(a["value"])),
    "relu": _unary(torch.relu),
    "sigmoid": _unary(torch.sigmoid),
    "gelu": _gelu,
    "softmax": lambda a: torch.softmax(_wide(a["x"]), int(a["axis"])),
    "layer_norm": _layer_norm,
    "linear": lambda a: F.linear(_wide(a["x"]), _wide(a["weight"]), _wide(a.get("bias"))),
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "upsample_nearest_neighbor": _upsample_nearest_neighbor,
    "reshape": lambda a: a["x"].reshape(_ints(a["shape"])),
    "transpose": lambda a: a["x"].permute(_ints(a["perm"])),
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "split": _split,
    "concat": _concat,
    "stack": lambda a: torch.stack([_wide(v) for v in a["values"]], int(a["axis"])),
    "pad": _pad,
    "slice_by_index": _slice_by_index,
    "cast": lambda a: a["x"].to(_CASTS[a["dtype"]]),
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_lut_to_dense": _lut_to_dense,
}
