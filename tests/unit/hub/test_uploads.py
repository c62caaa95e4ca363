"""Uploads under way: files that survive everything, one writer at a time."""

import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from wasme.hub.refusal import Refusal
from wasme.hub.uploads import Uploads

CONTENT = b"0123456789" * 1000


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads")


def test_another_worker_goes_on_where_the_first_stopped(uploads: Uploads, tmp_path: Path) -> None:
    """The running hash is lost with its worker; the digest is right all the same."""
    upload = uploads.start("a/b")
    with uploads.open("a/b", upload) as session:
        session.write(CONTENT[:4000])
    other = Uploads(tmp_path / "uploads")
    with other.open("a/b", upload) as session:
        assert session.offset == 4000
        session.write(CONTENT[4000:])
        assert session.finish("sha256") == "sha256:" + hashlib.sha256(CONTENT).hexdigest()
        assert session.finish("sha512") == "sha512:" + hashlib.sha512(CONTENT).hexdigest()


def test_a_stale_hash_is_not_trusted(uploads: Uploads, tmp_path: Path) -> None:
    """Worker 1 writes, worker 2 writes, worker 1 finishes: its remembered hash covers too little."""
    other = Uploads(tmp_path / "uploads")
    upload = uploads.start("a/b")
    for worker, part in ((uploads, CONTENT[:10]), (other, CONTENT[10:20]), (uploads, CONTENT[20:])):
        with worker.open("a/b", upload) as session:
            session.write(part)
    with uploads.open("a/b", upload) as session:
        assert session.finish("sha256") == "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def test_one_writer_at_a_time(uploads: Uploads) -> None:
    upload = uploads.start("a/b")
    with uploads.open("a/b", upload):
        with pytest.raises(Refusal) as refused, uploads.open("a/b", upload):
            pass
        assert refused.value.status == 409
    with uploads.open("a/b", upload) as session:
        assert session.offset == 0


def test_an_upload_belongs_to_its_repository(uploads: Uploads) -> None:
    upload = uploads.start("a/b")
    for repository, upload_id in (("a/c", upload), ("a/b", "0" * 32), ("a/b", "../../etc/passwd"), ("a/b", "")):
        with pytest.raises(Refusal) as refused:
            uploads.offset(repository, upload_id)
        assert refused.value.code == "BLOB_UPLOAD_UNKNOWN"


def test_a_file_that_became_a_blob_is_not_written_to(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening the upload and locking it, another worker may have finished it."""
    import fcntl

    upload = uploads.start("a/b")
    (path,) = (tmp_path / "uploads").iterdir()
    blob = tmp_path / "blob"
    real = fcntl.flock

    def finish_first(handle: int, how: int) -> None:
        path.rename(blob)
        real(handle, how)

    monkeypatch.setattr("wasme.hub.uploads.fcntl.flock", finish_first)
    with pytest.raises(Refusal) as refused, uploads.open("a/b", upload) as session:
        session.write(b"harm")
    assert refused.value.code == "BLOB_UPLOAD_UNKNOWN"
    assert blob.read_bytes() == b""


def test_a_chunk_that_does_not_fit_is_taken_back(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills in the middle of a chunk: after `rewind` the session stands where it stood, and goes on."""
    upload = uploads.start("a/b")
    real = os.write
    with uploads.open("a/b", upload) as session:
        session.write(CONTENT[:100])

        def half(handle: int, data: bytes) -> int:
            if len(data) <= 10:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(handle, data[:-10])

        monkeypatch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            session.write(CONTENT[100:])
        monkeypatch.setattr(os, "write", real)
        session.rewind(100)
    assert uploads.offset("a/b", upload) == 100
    with uploads.open("a/b", upload) as session:
        session.write(CONTENT[100:])
        assert session.finish("sha256") == "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def test_only_old_uploads_are_purged(uploads: Uploads, tmp_path: Path) -> None:
    old = uploads.start("a/b")
    (path,) = (tmp_path / "uploads").iterdir()
    os.utime(path, (time.time() - 100, time.time() - 100))
    new = uploads.start("a/b")
    assert uploads.purge(50) == 1
    assert uploads.offset("a/b", new) == 0
    with pytest.raises(Refusal):
        uploads.offset("a/b", old)
