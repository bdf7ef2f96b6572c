"""Where the embedder process of one gateway lives, whether it could run here, and how it is started.

Must not import onnxruntime or read the weights: `serve` asks this before it forks.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from gateway.embedder.frames import Greeting
from gateway.embedder.weights import (
    WEIGHTS_FILE,
    Precision,
    WeightsUnusable,
    embedder_id,
    find_model,
    read_shape,
    verify,
)
from gateway.private_folder import NotOurs, make_private, socket_path

LIBRARIES: Final = ("onnxruntime", "tokenizers", "onnx")


class CannotEmbed(Exception):
    """This machine cannot run the embedder; the message says why and what would help. The gateway goes on without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedderHome:
    """The places below a data directory: the ONNX file's folder, and the socket."""

    folder: Path
    socket: Path
    precision: Precision

    @classmethod
    def of(cls, data_dir: Path, precision: Precision = "int8") -> EmbedderHome:
        """Return the places; makes nothing."""
        folder = data_dir.absolute() / "embedder"
        return cls(folder=folder, socket=socket_path(folder / "embedder.sock"), precision=precision)

    def prepare(self) -> None:
        """Check libraries and weights (0.2 s of hashing) and make the folders. Raises CannotEmbed."""
        missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
        if missing:
            raise CannotEmbed(f"not installed: {', '.join(missing)}; `make setup` installs what the embedder needs")
        try:
            verify(find_model() / WEIGHTS_FILE)
            for folder in (self.folder, self.socket.parent):
                make_private(folder)
        except (WeightsUnusable, NotOurs) as error:
            raise CannotEmbed(str(error)) from error
        except OSError as error:
            raise CannotEmbed(f"{error.filename}: cannot be used for the embedder: {error.strerror}") from error

    def command(self) -> tuple[str, ...]:
        """Return what runs the process."""
        return (sys.executable, "-m", "gateway.embedder.process", str(self.folder), str(self.socket), self.precision)

    def become(self) -> NoReturn:
        """Turn this (forked) process into the embedder: exec leaves the parent's memory and sockets behind."""
        command = self.command()
        os.execv(command[0], command)  # noqa: S606 - a shell would only be in the way


def expected_greeting(precision: Precision) -> Greeting:
    """Return what the process of these files greets with; reads two small files. Raises WeightsUnusable."""
    shape = read_shape(find_model())
    return Greeting(embedder_id=embedder_id(precision), dim=shape.hidden, window=shape.window)
