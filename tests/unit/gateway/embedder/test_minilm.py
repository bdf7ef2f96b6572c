"""The encoder gives the model's own vectors: against a forward pass written twice, and against values kept here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from gateway.cache.semantic.types import Embedded, TooLong
from gateway.embedder.minilm import MiniLM, runs
from gateway.embedder.weights import WEIGHTS_FILE, Tensors, find_model, read_shape, read_tensors

SENTENCES = (
    "This is an example sentence",
    "Each sentence is converted",
    "Café naïve 東京 🤖 wasn't 3.5%",
    "Who beat whom in the 1960 debate, and why did the polls of that night say otherwise on the radio?",
)
GOLDEN = {
    SENTENCES[0]: (0.06765686, 0.06349593, 0.04871311, 0.0793049, 0.037448, 0.00265279, 0.03937496, -0.00709841),
    SENTENCES[1]: (0.08643857, 0.10276261, 0.00539451, 0.00204442, -0.00996335, 0.02538552, 0.04928752, -0.03062655),
}
Matrix = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def encoder(minilm_directory: Path) -> MiniLM:
    return MiniLM.load(minilm_directory)


def _vector(encoder: MiniLM, text: str) -> npt.NDArray[np.float32]:
    (answer,) = encoder.encode([text])
    assert isinstance(answer, Embedded)
    return answer.vector


def _norm(rows: Matrix, tensors: Tensors, path: str) -> Matrix:
    centred = rows - rows.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)
    moved: Matrix = scaled * tensors[f"{path}.weight"] + tensors[f"{path}.bias"]
    return moved


def _dense(rows: Matrix, tensors: Tensors, path: str) -> Matrix:
    product: Matrix = rows @ tensors[f"{path}.weight"].T.astype(np.float64)
    return product + tensors[f"{path}.bias"]


def _reference(ids: list[int]) -> Matrix:
    """BERT as its paper has it (arXiv 1810.04805), in float64 and head by head."""
    model = find_model()
    t, shape = read_tensors(model / WEIGHTS_FILE), read_shape(model)
    rows = t["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    rows = (
        rows + t["embeddings.position_embeddings.weight"][: len(ids)] + t["embeddings.token_type_embeddings.weight"][0]
    )
    rows = _norm(rows, t, "embeddings.LayerNorm")
    width = shape.hidden // shape.heads
    for layer in range(shape.layers):
        path = f"encoder.layer.{layer}"
        query, key, value = (_dense(rows, t, f"{path}.attention.self.{part}") for part in ("query", "key", "value"))
        heads = []
        for start in range(0, shape.hidden, width):
            here = slice(start, start + width)
            scores = np.exp(query[:, here] @ key[:, here].T / math.sqrt(width))
            heads.append(scores / scores.sum(-1, keepdims=True) @ value[:, here])
        mixed = _dense(np.concatenate(heads, axis=1), t, f"{path}.attention.output.dense")
        rows = _norm(rows + mixed, t, f"{path}.attention.output.LayerNorm")
        wide = _dense(rows, t, f"{path}.intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        rows = _norm(rows + _dense(wide, t, f"{path}.output.dense"), t, f"{path}.output.LayerNorm")
    mean: Matrix = rows.mean(0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize("sentence", SENTENCES[2:])
def test_a_vector_is_that_of_the_forward_pass_in_numpy(encoder: MiniLM, sentence: str) -> None:
    expected = _reference(list(encoder.tokens_of(sentence)))
    assert np.abs(_vector(encoder, sentence) - expected).max() < 1e-5


@pytest.mark.parametrize("sentence", sorted(GOLDEN))
def test_a_vector_is_what_it_always_was(encoder: MiniLM, sentence: str) -> None:
    assert np.abs(_vector(encoder, sentence)[:8] - GOLDEN[sentence]).max() < 1e-5


def test_a_vector_does_not_depend_on_who_shares_its_run(encoder: MiniLM) -> None:
    mixed = encoder.encode([*SENTENCES, *reversed(SENTENCES), "x"])
    for sentence, answer in zip(SENTENCES, mixed, strict=False):
        assert isinstance(answer, Embedded)
        assert np.abs(answer.vector - _vector(encoder, sentence)).max() < 1e-5


def test_a_text_beyond_the_window_has_no_vector_and_one_that_fills_it_has(encoder: MiniLM) -> None:
    fills, beyond = encoder.encode(["a " * 254, "a " * 255])
    assert isinstance(fills, Embedded)
    assert fills.tokens == 256
    assert beyond == TooLong(tokens=257, window=256)


def test_the_last_word_of_a_long_text_still_counts(encoder: MiniLM) -> None:
    assert float(_vector(encoder, "word " * 250 + "yes") @ _vector(encoder, "word " * 250 + "no")) < 0.9999


def test_int8_is_near_float32_and_does_not_depend_on_who_shares_its_run(
    encoder: MiniLM, minilm_directory: Path
) -> None:
    small = MiniLM.load(minilm_directory, "int8")
    assert small.id != encoder.id
    for sentence, answer in zip(SENTENCES, small.encode(SENTENCES), strict=True):
        assert isinstance(answer, Embedded)
        assert float(answer.vector @ _vector(encoder, sentence)) > 0.98
        assert np.array_equal(answer.vector, _vector(small, sentence))


def test_no_text_gives_no_answer(encoder: MiniLM) -> None:
    assert encoder.encode([]) == []


def test_runs_hold_every_text_once_and_little_padding() -> None:
    lengths = [3, 200, 7, 8, 7, 256, 3, 9, 30, 31, 33, 256]
    parted = list(runs(range(len(lengths)), lengths))
    assert sorted(number for run in parted for number in run) == list(range(len(lengths)))
    for run in parted:
        longest = max(lengths[number] for number in run)
        assert len(run) == 1 or longest * len(run) <= min(256, 1.25 * sum(lengths[number] for number in run))
    assert any(len(run) > 2 for run in parted)
