"""The hash is SipHash-2-4, by its authors' test vectors."""

from __future__ import annotations

import numpy as np
import pytest

from synth.provenance import siphash as module
from synth.provenance.siphash import siphash

KEY = bytes(range(16))


def test_the_vector_of_the_paper() -> None:
    word = int.from_bytes(bytes(range(8)), "little")
    assert int(siphash(KEY, np.array([word], np.uint64))[0]) == 0x93F5F5799A932462


def test_many_words_are_each_hashed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.arange(70, dtype=np.uint64).reshape(10, 7)
    whole = siphash(KEY, words)
    monkeypatch.setattr(module, "AT_ONCE", 16)
    assert whole.shape == (10, 7) and np.array_equal(siphash(KEY, words), whole)
    assert np.array_equal(words.ravel(), np.arange(70))  # what is hashed stays
    assert len(np.unique(whole)) == 70 and not np.isin(whole, siphash(bytes(16), words)).any()


def test_bits_are_fair_coins() -> None:
    bits = siphash(KEY, np.arange(50_000, dtype=np.uint64))[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    heads = bits.sum(axis=0).astype(float)
    assert (abs(heads - 25_000) < 4.5 * np.sqrt(12_500)).all()
