"""The one door to onnxruntime: on one thread, and without the telemetry that its wheels since 1.29 send by default.

Left alone it starts a thread when imported, keeps an identifier of the host under ~/.cache and reports sessions and
models to its maker over HTTPS (onnxruntime's Privacy.md). Its own switch counts only if it is set before the import.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Final, TypeAlias

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from onnxruntime.capi import onnxruntime_pybind11_state as _faults  # type: ignore[import-untyped]

Session: TypeAlias = onnxruntime.InferenceSession
ERRORS: Final = (
    _faults.Fail,
    _faults.InvalidArgument,
    _faults.InvalidGraph,
    _faults.InvalidProtobuf,
    _faults.NoSuchFile,
    _faults.NotImplemented,
    _faults.RuntimeException,
)
"""What opening or running a model may raise; they share no base of their own."""


def open_session(file: Path) -> Session:
    """Open a model for the CPU. Raises one of ERRORS."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # an arena keeps the largest run's memory for good
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    session: Session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return session


def quantise(source: Path, target: Path, *, default_type: int) -> None:
    """Write the model at `source` to `target` with its products in int8; `default_type` is onnx's number of a type.

    7 bits of 8, so that no product of a pair overflows 16 bits where the processor has no VNNI: results are the same
    everywhere. Loads onnx, which takes tens of megabytes.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    quantization.quantize_dynamic(
        str(source),
        str(target),
        op_types_to_quantize=["MatMul", "Attention"],
        per_channel=True,
        reduce_range=True,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"DefaultTensorType": default_type},
    )
