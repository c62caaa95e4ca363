"""Files that appear whole, with the mode they shall have, and nothing left beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasme.errors import StoreError
from wasme.image import durable


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_replaced_whole_with_its_mode(tmp_path: Path, mode: int) -> None:
    """New content and mode at once, whatever was there, and what a killed process left is no hindrance."""
    file = tmp_path / "file"
    file.write_bytes(b"old")
    file.chmod(0o666)
    (tmp_path / f".file.{os.getpid()}.tmp").write_bytes(b"left behind")

    durable.replace(file, b"new", mode)

    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_replaced_stays(tmp_path: Path) -> None:
    """An error, each in its own words, and nothing beside."""
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        durable.replace(tmp_path / "folder", b"new")
    with pytest.raises(StoreError, match="a folder is in the way"):
        durable.write_whole(tmp_path / "folder", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the rename, and the folder after it."""
    steps: list[str] = []
    real = os.fsync

    def watched(handle: int) -> None:
        there = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append(f"{'folder' if there.is_dir() else 'content'}, renamed: {(tmp_path / 'file').exists()}")
        real(handle)

    monkeypatch.setattr(os, "fsync", watched)
    durable.replace(tmp_path / "file", b"new")
    assert steps == ["content, renamed: False", "folder, renamed: True"]
