"""Joining Ray, and what the signals of an orderly stop do."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.session import connected, terminable
from synth.errors import UserError


@pytest.mark.parametrize("address", ["nonsense", "http://x"])
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(UserError, match=f"no Ray cluster answers at '{address}'"), connected(address):
        pass


def test_sigterm_is_taken_as_ctrl_c() -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("the handler of before"))
    try:
        theirs = signal.getsignal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), terminable():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_changes_no_handler() -> None:
    def look() -> object:
        with terminable():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(look).result() is signal.getsignal(signal.SIGTERM)
