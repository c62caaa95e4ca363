"""The database: migrations, search, and a file for every blob that a repository lists."""

import hashlib
import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wasme.errors import HubError
from wasme.hub.accounts import open_database
from wasme.hub.blobs import Blobs, ByteCache
from wasme.hub.database import Database, migrations, statements
from wasme.hub.manifest import parse
from wasme.hub.page import render
from wasme.hub.pulls import _span
from wasme.hub.refusal import Refusal
from wasme.hub.repositories import Repositories
from wasme.hub.search import Search
from wasme.image.media_types import OCI_INDEX, OCI_MANIFEST


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.fixture
def repositories(database: Database, blobs: Blobs) -> Repositories:
    return Repositories(database, blobs)


def add_blob(repositories: Repositories, tmp_path: Path, repository: str, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    (tmp_path / "arriving").write_bytes(content)
    repositories.add_blob(repository, digest, len(content), tmp_path / "arriving")
    return digest


def add_image(
    repositories: Repositories, tmp_path: Path, repository: str, *tags: str, annotations: dict[str, str] | None = None
) -> str:
    config = add_blob(repositories, tmp_path, repository, b"{}")
    body = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": "application/x", "digest": config, "size": 2},
            "layers": [],
            "annotations": annotations or {},
        }
    ).encode()
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    repositories.put_manifest(repository, digest, parse(body, OCI_MANIFEST), list(tags), None)
    return digest


def test_a_database_of_a_newer_wasme_is_left_alone(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    with sqlite3.connect(tmp_path / "hub.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(HubError, match="newer wasme"):
        open_database(tmp_path)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(HubError, match=r"hub\.db"):
        open_database(tmp_path)


def test_a_migration_happens_wholly_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step fails in its middle: the first stays, nothing of the second does, and it can be tried again."""
    good, bad = "CREATE TABLE one (a);", "CREATE TABLE two (a); CREATE TABLE two (a);"
    monkeypatch.setattr("wasme.hub.database.migrations", lambda: [good])
    open_database(tmp_path).close()
    monkeypatch.setattr("wasme.hub.database.migrations", lambda: [good, bad])
    with pytest.raises(HubError):
        open_database(tmp_path)
    monkeypatch.setattr("wasme.hub.database.migrations", lambda: [good, "CREATE TABLE two (a);"])
    opened = open_database(tmp_path)
    assert opened.connection.execute("PRAGMA user_version").fetchone() == (2,)
    opened.close()


def test_scripts_are_split_at_statements_not_at_semicolons() -> None:
    """Triggers hold semicolons."""
    script = migrations()[0]
    assert sum("CREATE TRIGGER" in each for each in statements(script)) == 3
    assert all(each.rstrip().endswith(";") for each in statements(script))


def test_search_by_prefix_by_substring_and_by_annotation(
    database: Database, repositories: Repositories, tmp_path: Path
) -> None:
    add_image(repositories, tmp_path, "demo/add-header", "v0.1", "v0.2")
    add_image(repositories, tmp_path, "demo/auth", "v1", annotations={"org.opencontainers.image.title": "Wächter"})
    add_image(repositories, tmp_path, "mark/authz-headerz", "v1")
    search = Search(database)

    def names(query: str) -> list[str]:
        return sorted({each.name for each in search.find(query, 100).results})

    assert names("") == ["demo/add-header", "demo/auth", "mark/authz-headerz"]
    assert names("auth") == ["demo/auth", "mark/authz-headerz"]
    assert names("a") == ["demo/add-header", "demo/auth", "mark/authz-headerz"]
    assert names("eade") == ["demo/add-header", "mark/authz-headerz"]
    assert names("HEADER") == ["demo/add-header", "mark/authz-headerz"]
    assert names("demo auth") == ["demo/auth"]
    assert names("add-hea") == ["demo/add-header"]
    assert names("wächt") == ["demo/auth"]
    assert names("v0.2") == ["demo/add-header"]
    assert names("nothing") == []


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "'",
        "a OR b",
        'a"b',
        '"a',
        'abc" OR "def',
        "NEAR(",
        "*",
        "a*",
        "-a",
        "tag:v1",
        "^x",
        "\0",
        "%",
        "); DROP",
        "a" * 9999,
    ],
)
def test_no_query_is_a_syntax_error(database: Database, query: str) -> None:
    """What a user types is words, never FTS5's or SQL's language."""
    assert Search(database).find(query, 10).results == []


def test_pages_of_search_hold_every_tag_once(database: Database, repositories: Repositories, tmp_path: Path) -> None:
    for letter in "cab":
        add_image(repositories, tmp_path, f"demo/{letter}", "v2", "v1", "v10")
    search = Search(database)
    seen: list[tuple[str, str]] = []
    cursor: str | None = None
    while True:
        page = search.find("demo", 2, cursor)
        seen.extend((each.name, each.tag) for each in page.results)
        cursor = page.next
        if cursor is None:
            break
    assert seen == sorted((f"demo/{letter}", tag) for letter in "abc" for tag in ("v1", "v10", "v2"))
    with pytest.raises(Refusal):
        search.find("", 2, "garbage!")


def test_search_follows_moved_and_deleted_tags(database: Database, repositories: Repositories, tmp_path: Path) -> None:
    search = Search(database)
    old = add_image(repositories, tmp_path, "demo/a", "v1", annotations={"t": "zebra"})
    add_image(repositories, tmp_path, "demo/a", "v1", annotations={"t": "giraffe"})
    assert search.find("zebra", 9).results == []
    assert [each.tag for each in search.find("giraffe", 9).results] == ["v1"]
    repositories.delete_manifest("demo/a", old)
    assert [each.tag for each in search.find("giraffe", 9).results] == ["v1"]
    repositories.delete_tag("demo/a", "v1")
    assert search.find("demo", 9).results == []


def test_a_blob_goes_from_the_disk_with_its_last_repository(
    repositories: Repositories, blobs: Blobs, tmp_path: Path
) -> None:
    digest = add_blob(repositories, tmp_path, "demo/a", b"content")
    assert repositories.mount("demo/b", digest, "demo/a")
    repositories.delete_blob("demo/a", digest)
    assert repositories.blob_size("demo/a", digest) is None
    assert blobs.path(digest).read_bytes() == b"content"
    repositories.delete_blob("demo/b", digest)
    assert not blobs.path(digest).exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_a_blob_is_deleted_no_row_is_without_its_file(
    database: Database, repositories: Repositories, blobs: Blobs, tmp_path: Path, moment: str
) -> None:
    """kill -9 just before or just after the file's end: a file may be left over; the next push takes its place."""
    digest = add_blob(repositories, tmp_path, "demo/a", b"content")
    database.close()
    child = os.fork()
    if child == 0:
        try:

            class Killed(Blobs):
                def discard(self, digest: str) -> None:
                    if moment == "after":
                        super().discard(digest)
                    os.kill(os.getpid(), signal.SIGKILL)

            Repositories(Database(tmp_path / "hub.db"), Killed(tmp_path / "blobs")).delete_blob("demo/a", digest)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert database.connection.execute("SELECT count(*) FROM blobs").fetchone() == (0,)
    assert blobs.path(digest).exists() is (moment == "before")
    assert add_blob(repositories, tmp_path, "demo/a", b"content") == digest
    assert repositories.blob_size("demo/a", digest) == 7


def test_a_deletion_that_cannot_be_committed_keeps_the_file(
    repositories: Repositories, blobs: Blobs, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = add_blob(repositories, tmp_path, "demo/a", b"content")
    real = database.transaction

    @contextmanager
    def on_a_full_disk() -> Iterator[sqlite3.Connection]:
        with real() as connection:
            yield connection
            raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(database, "transaction", on_a_full_disk)
        with pytest.raises(sqlite3.OperationalError):
            repositories.delete_blob("demo/a", digest)
    assert repositories.blob_size("demo/a", digest) == 7
    assert blobs.path(digest).read_bytes() == b"content"


def test_a_blob_pushed_between_a_deletions_two_steps_stays(
    repositories: Repositories, blobs: Blobs, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is gone, the file not yet: whoever pushes the blob at that moment keeps it."""
    digest = add_blob(repositories, tmp_path, "demo/a", b"content")
    real = database.transaction
    commits = []

    @contextmanager
    def then_a_push() -> Iterator[sqlite3.Connection]:
        with real() as connection:
            yield connection
        commits.append(1)
        if len(commits) == 1:
            add_blob(repositories, tmp_path, "demo/b", b"content")

    monkeypatch.setattr(database, "transaction", then_a_push)
    repositories.delete_blob("demo/a", digest)
    assert repositories.blob_size("demo/a", digest) is None
    assert repositories.blob_size("demo/b", digest) == 7
    assert blobs.path(digest).read_bytes() == b"content"


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"cont")])
def test_a_blob_whose_file_is_lost_is_unknown_until_it_is_pushed_again(
    repositories: Repositories, blobs: Blobs, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """Nothing is built on it meanwhile: it is not mounted, and no manifest that names it is taken."""
    manifest = add_image(repositories, tmp_path, "demo/a", "v1")
    digest = add_blob(repositories, tmp_path, "demo/a", b"{}")
    damage(blobs.path(digest))
    assert repositories.blob_size("demo/a", digest) is None
    assert not repositories.mount("demo/b", digest, "demo/a")
    found = repositories.manifest("demo/a", manifest)
    assert found is not None
    with pytest.raises(Refusal) as refused:
        repositories.put_manifest("demo/a", manifest, parse(found[2], OCI_MANIFEST), ["v2"], None)
    assert refused.value.code == "MANIFEST_BLOB_UNKNOWN"
    add_blob(repositories, tmp_path, "demo/a", b"{}")
    assert repositories.blob_size("demo/a", digest) == 2
    assert repositories.mount("demo/b", digest, "demo/a")


def test_a_blob_that_a_manifest_needs_stays(repositories: Repositories, tmp_path: Path) -> None:
    manifest = add_image(repositories, tmp_path, "demo/a", "v1")
    config = "sha256:" + hashlib.sha256(b"{}").hexdigest()
    with pytest.raises(Refusal, match="delete the manifest first") as refused:
        repositories.delete_blob("demo/a", config)
    assert refused.value.status == 405
    repositories.delete_manifest("demo/a", manifest)
    repositories.delete_blob("demo/a", config)


def test_a_manifest_that_an_index_names_can_be_deleted(repositories: Repositories, tmp_path: Path) -> None:
    """As in other registries, one platform's image can be taken away; the index stays as it was pushed."""
    child = add_image(repositories, tmp_path, "demo/a")
    body = json.dumps(
        {"schemaVersion": 2, "manifests": [{"mediaType": OCI_MANIFEST, "digest": child, "size": 3}]}
    ).encode()
    index = "sha256:" + hashlib.sha256(body).hexdigest()
    repositories.put_manifest("demo/a", index, parse(body, OCI_INDEX), ["v1"], None)
    repositories.delete_manifest("demo/a", child)
    assert repositories.manifest("demo/a", child) is None
    assert repositories.manifest("demo/a", "v1") == (index, OCI_INDEX, body)
    with pytest.raises(Refusal) as refused:
        repositories.put_manifest("demo/a", index, parse(body, OCI_INDEX), ["v2"], None)
    assert refused.value.code == "MANIFEST_BLOB_UNKNOWN"


def test_mounting_needs_membership(repositories: Repositories, tmp_path: Path) -> None:
    """Content of another repository is not to be had by guessing its digest with a wrong `from`."""
    digest = add_blob(repositories, tmp_path, "demo/a", b"content")
    assert not repositories.mount("demo/b", digest, "demo/c")
    assert repositories.blob_size("demo/b", digest) is None


def test_a_manifest_with_a_lying_size_is_refused(repositories: Repositories, tmp_path: Path) -> None:
    config = add_blob(repositories, tmp_path, "demo/a", b"{}")
    body = json.dumps(
        {"schemaVersion": 2, "config": {"mediaType": "application/x", "digest": config, "size": 3}, "layers": []}
    ).encode()
    with pytest.raises(Refusal, match="size of 3 bytes, it has 2"):
        repositories.put_manifest("demo/a", "sha256:" + "0" * 64, parse(body, OCI_MANIFEST), ["v1"], None)
    assert repositories.names("", 9) == []


def test_what_is_refused_leaves_nothing(repositories: Repositories, tmp_path: Path) -> None:
    """Not even the repository that the refused manifest would have been the first of."""
    body = json.dumps(
        {"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": "sha256:" + "1" * 64, "size": 3}, "layers": []}
    ).encode()
    with pytest.raises(Refusal) as refused:
        repositories.put_manifest("demo/new", "sha256:" + "0" * 64, parse(body, OCI_MANIFEST), ["v1"], None)
    assert refused.value.code == "MANIFEST_BLOB_UNKNOWN"
    assert not repositories.exists("demo/new")


def test_files_lie_by_digest_readable_by_the_group_only(blobs: Blobs, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    digest = "sha256:" + hashlib.sha256(b"x").hexdigest()
    blobs.keep(tmp_path / "x", digest)
    hexdigest = digest.partition(":")[2]
    assert blobs.path(digest) == tmp_path / "blobs" / "sha256" / hexdigest[:2] / hexdigest


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-4", (0, 5)),
        ("bytes=5-", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=8-99", (8, 10)),
        ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=-", None),
        ("bytes=x-y", None),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    """One range is answered; what RFC 9110 lets a server ignore is answered with the whole."""
    assert _span(header, 10) == expected


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-4", "bytes=99-100", "bytes=-0"])
def test_ranges_outside(header: str) -> None:
    with pytest.raises(Refusal) as refused:
        _span(header, 10)
    assert refused.value.status == 416
    assert ("content-range", "bytes */10") in refused.value.headers


def test_the_cache_keeps_to_its_size_and_drops_what_was_used_least() -> None:
    cache = ByteCache(capacity=10, largest=5)
    cache.put("a", b"aaaa")
    cache.put("b", b"bbbb")
    cache.get("a")
    cache.put("c", b"cccc")
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"aaaa", None, b"cccc")
    cache.put("d", b"dddddd")
    assert cache.get("d") is None


def test_the_front_page_escapes_everything() -> None:
    page = render('"><script>alert(1)</script>', [("a&b", 1, "<b>")])
    assert "<script>" not in page
    assert "a&amp;b" in page
    assert "&lt;b&gt;" in page
