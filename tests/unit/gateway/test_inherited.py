"""Places: who has the fewest connections, seen by every process that inherited them."""

from __future__ import annotations

import os

from gateway.inherited import Places


def test_a_worker_that_does_not_serve_yet_is_waited_for_by_nobody() -> None:
    places = Places(3)
    places.set(1, 50)
    assert places.has_fewest(1)


def test_only_those_with_the_fewest_are_told_so() -> None:
    places = Places(3)
    for number, connections in enumerate((4, 2, 2)):
        places.set(number, connections)
    assert [places.has_fewest(number) for number in range(3)] == [False, True, True]


def test_what_one_process_says_every_other_sees() -> None:
    places = Places(2)
    places.set(0, 1)
    pid = os.fork()
    if pid == 0:
        places.set(1, 0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not places.has_fewest(0)
