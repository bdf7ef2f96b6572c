"""The models file and the policies as one snapshot, read by the parent and inherited by its workers.

A worker that dies must come back with what is in force, not with what lies half-edited on the disk. Must not log.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.settings import Settings
from policies.book import PolicyBook
from policies.load import ModelsFile, load_models, read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What was read. The book goes on following its directory, the models file is read at the start and at SIGHUP."""

    models: ModelsFile
    book: PolicyBook


def read_documents(settings: Settings) -> Documents:
    """Read and check both; blocks on files. Raises DocumentError with every problem of the first that is bad."""
    models = load_models(read_text(settings.models, source=str(settings.models)), source=str(settings.models))
    book = PolicyBook(settings.policies, groups=models.groups, models_file=settings.models)
    return Documents(models=models, book=book)
