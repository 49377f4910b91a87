"""A lock's turns come in the order in which they were asked for, and one that was given up delays nobody."""

from __future__ import annotations

import threading
import time

from broker.store.turns import Turns
from tests.soon import eventually


def test_turns_come_in_the_order_in_which_they_were_asked_for() -> None:
    turns, had = Turns(), []
    assert turns.acquire(1)

    def wait(number: int) -> None:
        assert turns.acquire(60)
        had.append(number)
        turns.release()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(12)]
    for number, thread in enumerate(threads):
        thread.start()
        eventually(lambda number=number: len(turns._waiting) == number + 1)
    turns.release()
    for thread in threads:
        thread.join(60)
    assert had == list(range(12))
    assert turns.acquire(0), "and then it is free"


def test_whoever_asks_again_at_once_comes_after_those_who_wait() -> None:
    """With `threading.Lock` the one who has just released it usually has it again."""
    turns, had = Turns(), []
    assert turns.acquire(1)

    def wait() -> None:
        assert turns.acquire(60)
        had.append("who waited")
        turns.release()

    waiting = threading.Thread(target=wait)
    waiting.start()
    eventually(lambda: turns._waiting)
    turns.release()
    assert turns.acquire(60)
    had.append("who asked again")
    turns.release()
    waiting.join(60)
    assert had == ["who waited", "who asked again"]


def test_a_turn_that_was_given_up_is_not_waited_for() -> None:
    turns = Turns()
    assert turns.acquire(1)
    assert not turns.acquire(0.05)
    turns.release()
    assert turns.acquire(0)


def test_two_never_have_it_whoever_gives_up() -> None:
    turns, inside, most, had = Turns(), 0, 0, 0
    ends = time.monotonic() + 0.5

    def work(patience: float) -> None:
        nonlocal inside, most, had
        while time.monotonic() < ends:
            if turns.acquire(patience):
                inside += 1
                most, had = max(most, inside), had + 1
                time.sleep(0.0005)
                inside -= 1
                turns.release()

    threads = [threading.Thread(target=work, args=(patience,)) for patience in (0, 0.0005, 0.001, 0.002, 0.01, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    assert had > 6
    assert turns.acquire(1), "nobody has it any more"
