"""A peer's environment is whole or absent, and one that cannot be made is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers.environments import python_of
from storage import UserError


def test_what_cannot_be_installed_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "peer.lock"
    lock.write_text("peer @ file:///nowhere/peer-1.0-py3-none-any.whl --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(UserError, match=r"^peer could not be installed: [^\n]+$"):
        python_of("peer", locks=tmp_path, environments=tmp_path / "environments")
    assert not any((tmp_path / "environments").iterdir())
