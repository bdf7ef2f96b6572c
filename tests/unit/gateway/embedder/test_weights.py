"""Weights that are missing, changed or malformed are refused in words that help."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from gateway.embedder.weights import WEIGHTS_FILE, WeightsUnusable, find_model, read_shape, read_tensors, verify


def _safetensors(header: object, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_the_installed_weights_are_the_published_ones() -> None:
    verify(find_model() / WEIGHTS_FILE)


def test_weights_with_another_hash_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / WEIGHTS_FILE
    file.write_bytes(b"other weights")
    with pytest.raises(WeightsUnusable, match=r"model\.safetensors: SHA-256 is [0-9a-f]{64}; the published"):
        verify(file)


def test_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnusable, match="No such file"):
        verify(tmp_path / WEIGHTS_FILE)
    with pytest.raises(WeightsUnusable, match="configuration cannot be read"):
        read_shape(tmp_path)


def test_the_window_is_that_of_the_sentence_model_not_that_of_bert() -> None:
    assert read_shape(find_model()).window == 256


def test_tensors_are_read_at_their_offsets_whatever_the_header_s_order(tmp_path: Path) -> None:
    first, second = np.arange(6, dtype="<f4").reshape(2, 3), np.full(4, 7.5, "<f4")
    header = {
        "__metadata__": {"format": "pt"},
        "second": {"dtype": "F32", "shape": [4], "data_offsets": [24, 40]},
        "first": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    }
    file = tmp_path / "some.safetensors"
    file.write_bytes(_safetensors(header, first.tobytes() + second.tobytes()))
    tensors = read_tensors(file)
    assert set(tensors) == {"first", "second"}
    assert np.array_equal(tensors["first"], first)
    assert np.array_equal(tensors["second"], second)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        struct.pack("<Q", 1 << 40) + b"{}",
        _safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]}}, bytes(12)),
        _safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(12)),
        _safetensors({"a": {"dtype": "F32", "shape": [4]}}, bytes(16)),
    ],
)
def test_a_file_that_breaks_the_format_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "some.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsUnusable, match=r"some\.safetensors"):
        read_tensors(file)
