"""Listening: every address of a name, and an error that says what to do."""

from __future__ import annotations

import socket

import pytest

from gateway.listening import CannotServe, listen
from gateway.setting_types import Address


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotServe, match=rf"127\.0\.0\.1:{port}.*stop it.*--port \(FOREWORD_PORT\)"):
            listen(Address("127.0.0.1", port), setting="port")


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(CannotServe, match=r"192\.0\.2\.1:0: this machine has no such address"):
        listen(Address("192.0.2.1", 0), setting="port")


def test_a_name_with_two_addresses_gets_the_same_free_port_on_both() -> None:
    sockets = listen(Address("localhost", 0), setting="port")
    try:
        assert len({made.getsockname()[1] for made in sockets}) == 1
    finally:
        for made in sockets:
            made.close()
