"""Where the project's files and modules are; shared by the architecture tests. Must import nothing of the product."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("policies", "router", "warmer", "gateway")


def source_files() -> tuple[Path, ...]:
    """Return every Python file of the product, sorted."""
    return tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))


def module_name(path: Path) -> str:
    """Return the dotted name under which `path` is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def committed_files() -> tuple[Path, ...]:
    """Return what git tracks, or would after `git add .`; the whole tree where there is no repository (a tarball)."""
    command = ("git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listing = subprocess.run(command, capture_output=True, check=False)
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not _is_made_here(path.relative_to(ROOT))]
    return tuple(sorted(path for path in paths if path.is_file()))


def _is_made_here(path: Path) -> bool:
    made = {"__pycache__", ".venv", ".hypothesis", "build", "dist"}
    return any(part in made or part.endswith(("_cache", ".egg-info")) for part in path.parts)
