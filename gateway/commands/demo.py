"""`foreword demo`: starts a gateway of its own where none is named, and hands over to gateway.demo.

Must not touch the data directory of another gateway: its own lives in a temporary folder.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.commands import keys
from gateway.demo import demo_main
from gateway.settings import SettingsError, load_settings, process_environment
from gateway.stores.embedded import find_running

EXIT_FAILURE = 1
EXIT_CONFIG = 2
STEP_S = 0.1
START_LIMIT_S = 60.0
STOP_LIMIT_S = 40.0


def run_demo(*, base_url: str | None, api_key: str | None, sections: int) -> int:
    """Run the demo against `base_url`, or against a gateway started for it; return the exit code.

    `sections` is how much of the debate is sent. FOREWORD_BASE_URL, FOREWORD_API_KEY and FOREWORD_DATA are read.
    """
    environment = process_environment()
    data = Path(environment.get("FOREWORD_DATA") or "../shared/data")
    if sections < 1:
        sys.stderr.write(f"--sections: {sections}: must be 1 or more\n")
        return EXIT_CONFIG
    url, key = base_url or environment.get("FOREWORD_BASE_URL"), api_key or environment.get("FOREWORD_API_KEY")
    if url:
        return demo_main(base_url=url, api_key=key or "", sections=sections, data_dir=data)
    with tempfile.TemporaryDirectory(prefix="foreword-demo-") as folder, _own_gateway(Path(folder)) as started:
        if started is None:
            return EXIT_FAILURE
        own_url, own_key = started
        return demo_main(base_url=own_url, api_key=own_key, sections=sections, data_dir=data)


@contextmanager
def _own_gateway(folder: Path) -> Iterator[tuple[str, str] | None]:
    """Yield (base URL, key) of a gateway on a free port, or None if it did not start; it ends with the block."""
    port = _free_port()
    log = folder / "serve.log"
    flags = ("--port", str(port), "--data-dir", str(folder), "--drain-s", "1")
    command = [sys.executable, "-m", "gateway", "serve", *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        if not _wait_until_it_listens(process, port, folder):
            sys.stderr.write(log.read_text(errors="replace") + "foreword: the gateway for the demo did not start\n")
            yield None
            return
        key = _key(folder)
        yield None if key is None else (f"http://127.0.0.1:{port}", key)
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    """The socket listens before the workers serve; their first answer simply takes that much longer."""
    for _ in range(int(START_LIMIT_S / STEP_S)):
        try:
            process.wait(STEP_S)
        except subprocess.TimeoutExpired:
            if find_running(folder) is not None and _connects(port):
                return True
        else:
            return False
    return False


def _key(folder: Path) -> str | None:
    try:
        settings = load_settings(flags={"data_dir": str(folder)}, environment=process_environment()).settings
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return None
    return keys.make(settings, tenant="demo", name="demo")


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port
