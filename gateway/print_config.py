"""Settings as the text of a configuration file, for `serve --print-config`. Must not show a secret."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.setting_types import Address
from gateway.settings import GIVEN_BY_CODE, Loaded, Settings, without_password


def describe(loaded: Loaded) -> Iterator[str]:
    """Yield one line a setting, `name: value  # where from`: a valid --config file, with every secret masked."""
    for name in Settings.model_fields:
        if name in GIVEN_BY_CODE:
            continue
        origin = loaded.origins.get(name, "default")
        value: object = getattr(loaded.settings, name)
        if name == "admin_key":  # a comment, because the file may not hold it
            yield f"# {name}: {'null' if value is None else '********'}  # {origin}"
        else:
            yield f"{name}: {_shown(name, value)}  # {origin}"


def _shown(name: str, value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Address):
        host = f"[{value.host}]" if ":" in value.host else value.host
        return f"'{host}:{value.port}'"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(int(value))
    text = without_password(str(value)) if name == "redis_url" else str(value)
    return "'" + text.replace("'", "''") + "'"
