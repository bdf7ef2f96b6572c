"""What a gateway found before it began to serve, as a value that travels from one process to another.

Imports nothing heavy: the parent and the banner read it.
"""

from __future__ import annotations

import msgspec


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to serve with. `problems` not empty: it must not start. `secret` is the new key, shown once.

    `left_out` are entries of the models file, `unread` parameters of used ones, `ignored_sections` the rest of it.
    """

    problems: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    is_simulated: bool = False
    models: tuple[str, ...] = ()
    example_model: str = ""
    policies: tuple[str, ...] = ()
    ignored_sections: tuple[str, ...] = ()
    secret: str | None = None
    key_trouble: str = ""
