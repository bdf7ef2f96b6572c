"""Writes the encoder's ONNX file, once, in a short-lived process, so that onnx takes no memory in the one that serves.

`python -m gateway.embedder.build FILE PRECISION`; must not be imported for anything but its `ensure`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from gateway.embedder.weights import (
    WEIGHTS_FILE,
    Precision,
    WeightsUnusable,
    embedder_id,
    find_model,
    read_shape,
    read_tensors,
)

DATA_SUFFIX = ".data"
"""The constants lie in a file beside the graph, which onnxruntime maps instead of copying."""
GRAPH_VERSION = 1
"""Raise it with every change of gateway/embedder/graph.py: files of another version are built anew."""
BUILD_LIMIT_S = 120.0


def ensure(directory: Path, precision: Precision) -> Path:
    """Return the ONNX file in `directory`, building it if it is not there (a second or two, 90 MB).

    Does not verify the weights: gateway.embedder.minilm did. Raises WeightsUnusable, with what the builder said last.
    """
    file = directory / f"{embedder_id(precision)}-{GRAPH_VERSION}.onnx"
    if file.exists():
        return file
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "gateway.embedder.build", str(file), precision]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise WeightsUnusable(f"{file}: not built within {BUILD_LIMIT_S:g} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise WeightsUnusable(f"{file}: cannot be built: {last}")
    return file


def write(file: Path, precision: Precision) -> None:
    """Build the graph into `file`, which appears whole or not at all. Raises WeightsUnusable, ImportError, OSError."""
    graph = importlib.import_module("gateway.embedder.graph")
    model = find_model()
    data = file.with_suffix(DATA_SUFFIX)
    with tempfile.TemporaryDirectory(dir=file.parent) as made:
        built = graph.build(read_tensors(model / WEIGHTS_FILE), read_shape(model))
        if precision == "int8":
            built = graph.quantised(built, Path(made))
        graph.save(built, Path(made) / file.name, data=data.name)
        (Path(made) / data.name).replace(data)
        (Path(made) / file.name).replace(file)


if __name__ == "__main__":
    write(Path(sys.argv[1]), "int8" if sys.argv[2] == "int8" else "float32")
