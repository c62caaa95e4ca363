"""tag, list, rm and prune as typed, with the bytes that a user of the original captured."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import modules
from tests.fixtures.harbor import serving
from tests.integration.test_store_legacy import legacy_image
from wasme.image import layouts
from wasme.image.descriptor import sha256
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import Store, open_store

CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
V1 = Reference.parse("h.io/demo/auth:v1")
MODULE = modules.sized(12_553)
AUTH_DIGEST = "sha256:a515a5d244b021c753f2e36c744e03a109cff6f5988e34714dbe725c904fa917"

LOCAL = """\
NAME                                 TAG    SIZE    SHA      UPDATED
webassemblyhub.io/hxpmark/add-header v0.0.1 12.6 kB a515a5d2 07 May 21 12:29 CST
webassemblyhub.io/hxpmark/auth       0.01   12.6 kB a515a5d2 28 Aug 21 13:58 CST
"""
RETAGGED = LOCAL + "webassemblyhub.io/hxpmark/auth       0.02   12.6 kB a515a5d2 28 Aug 21 14:06 CST\n"
PUBLISHED = """\
NAME                                            TAG    SIZE     SHA      UPDATED
webassemblyhub.io/akubala/authz-headerz         0.0.1  239.9 kB 4ead4a11 14 Jan 21 10:54 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.2  237.9 kB fd6cc663 14 Jan 21 12:29 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.3  237.9 kB 8ce72539 14 Jan 21 12:48 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.4  237.9 kB 817236fb 14 Jan 21 12:53 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.5  242.2 kB b92bc8c2 14 Jan 21 13:20 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.6  243.6 kB 6b8e18e8 14 Jan 21 13:27 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.7  242.2 kB 48d1f8c7 14 Jan 21 13:38 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.8  243.6 kB 91d7fc2f 14 Jan 21 13:51 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.9  243.0 kB 348f34ee 14 Jan 21 13:59 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.10 236.2 kB e8f747ce 14 Jan 21 14:14 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.11 244.8 kB 4c829545 14 Jan 21 14:24 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.12 244.9 kB c41e44c3 14 Jan 21 14:37 UTC
webassemblyhub.io/akubala/authz-headerz         0.0.14 240.6 kB 93891059 14 Jan 21 14:44 UTC
webassemblyhub.io/ashiskum/http_auth_random     v0.1   70.9 kB  bee8844c 29 Apr 20 03:26 UTC
webassemblyhub.io/bochuxt/auth                  v0.1   26.7 kB  fd64e837 24 Apr 20 04:19 UTC
webassemblyhub.io/canthefason/authz-filter      v0.1   1.0 MB   d7a78022 02 Sep 20 21:53 UTC
webassemblyhub.io/canthefason/authz-filter      v0.2   1.0 MB   43577ee1 02 Sep 20 22:34 UTC
webassemblyhub.io/hxpmark/auth                  0.01   13.9 kB  d696cba6 28 Aug 21 05:59 UTC
webassemblyhub.io/jianshao/auth-filter          v0.1.0 25.2 kB  9a4d425e 13 Nov 20 03:26 UTC
webassemblyhub.io/jianshao/authz-filter         v0.0.1 17.7 kB  30512543 20 May 20 03:39 UTC
webassemblyhub.io/jianshao/authz-filter         v0.0.2 31.9 kB  37cece54 09 Nov 20 09:09 UTC
webassemblyhub.io/jianshao/authz-filter         v0.0.3 28.1 kB  2de24d7a 10 Nov 20 09:49 UTC
webassemblyhub.io/luufery/eciton-auth           v0.0.1 290.6 kB fa26768b 28 Dec 20 06:19 UTC
webassemblyhub.io/mayster/auth                  0.1.0  259.8 kB 5f5aa13e 20 Apr 21 16:10 UTC
webassemblyhub.io/mayster/tinygo-auth           v0.1   259.8 kB 4cf26752 20 Apr 21 14:51 UTC
webassemblyhub.io/mayster/tinygo-auth           v0.2   248.7 kB 6f991cba 20 Apr 21 15:33 UTC
webassemblyhub.io/mwrzesinski/envoy-auth-filter v0.1   2.1 MB   9a159858 25 May 20 02:48 UTC
webassemblyhub.io/sanjo/go-auth-random          v1.0   84.3 kB  da0dde81 13 Apr 20 06:37 UTC
webassemblyhub.io/sanjo/http_auth_random        v1.0   3.5 MB   570d895c 11 Apr 20 03:27 UTC
webassemblyhub.io/taegyunk/http-auth            v0.1   54.6 kB  512ad6ed 20 Jul 20 13:42 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.1   13.8 kB  d3e98936 20 Jul 20 05:27 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.4   13.5 kB  ae2df7d2 20 Jul 20 06:13 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.5   13.5 kB  ae2df7d2 20 Jul 20 06:18 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.6   13.5 kB  a295352d 20 Jul 20 06:45 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.7   13.5 kB  17613b6d 20 Jul 20 06:56 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.8   13.2 kB  fee7d378 20 Jul 20 06:59 UTC
webassemblyhub.io/tanglonghao/auth-filter       v0.9   13.2 kB  bfb3df15 22 Jul 20 03:04 UTC
webassemblyhub.io/thesisworker/authn_filter     v0.1   1.1 MB   1b64dfe0 08 Jun 21 22:13 UTC
"""


@pytest.fixture
def in_shanghai(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone that the user's listings were captured in."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def store(home: Path) -> Store:
    return open_store()


def user_store(home: Path, *, legacy: bool) -> None:
    """The user's images as they were in the listing: in the original's store, or in ours."""
    if legacy:
        for name, when in USERS:
            folder = legacy_image(home / ".wasme" / "store", name, MODULE, when)
            described = json.loads((folder / "descriptor.json").read_text())
            (folder / "descriptor.json").write_text(json.dumps({**described, "digest": AUTH_DIGEST}))
        return
    blobs = home / ".wasme" / "oci" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (home / ".wasme" / "oci" / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    rows = []
    for number, (name, when) in enumerate(USERS):
        digest = f"sha256:{number:064}"
        (blobs / digest[7:]).touch()
        rows.append({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": 944,
            "annotations": {
                "org.opencontainers.image.ref.name": name,
                "module.wasm.image/digest": AUTH_DIGEST,
                "module.wasm.image/size": "12553",
                "module.wasm.image/layout": "oci",
                "module.wasm.image/updated": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(when)),
            },
        })  # fmt: skip
    (blobs / AUTH_DIGEST[7:]).touch()
    (home / ".wasme" / "oci" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": rows}))


USERS = [
    ("webassemblyhub.io/hxpmark/auth:0.02", 1630130760),
    ("webassemblyhub.io/hxpmark/auth:0.01", 1630130280),
    ("webassemblyhub.io/hxpmark/add-header:v0.0.1", 1620361740),
]


class TestList:
    @pytest.mark.parametrize("legacy", [True, False])
    @pytest.mark.usefixtures("in_shanghai")
    def test_the_users_listing(self, home: Path, run: Callable[..., Result], legacy: bool) -> None:
        """The user's own captured listing, byte for byte, from either kind of store."""
        user_store(home, legacy=legacy)

        listed = run("list")

        assert (listed.stdout, listed.stderr) == (RETAGGED, "")
        assert RETAGGED.startswith(LOCAL)

    @pytest.mark.parametrize("words", [("--published", "--search", "auth"), ("--search=auth",)])
    def test_the_users_published_listing(self, harbor: str, run: Callable[..., Result], words: tuple[str, ...]) -> None:
        """The 39 lines that the user captured from the hub, byte for byte, from a Harbor that tells the same."""
        listed = run("list", *words, f"--registry-map=webassemblyhub.io={harbor}")

        assert listed.stdout == PUBLISHED
        assert listed.stdout.count("\n") == 39

    def test_no_directories_of_published_images(self, harbor: str, run: Callable[..., Result]) -> None:
        """[BUG of the original: an empty DIRECTORY column] -d does not apply to published images."""
        listed = run("list", "--search", "auth", "-d", f"--registry-map=webassemblyhub.io={harbor}")

        assert listed.stdout == PUBLISHED

    def test_published_as_json(self, harbor: str, run: Callable[..., Result]) -> None:
        """What the hub tells, with the module's digest beside, which an old Harbor does not tell."""
        rows = run("list", "--search", "auth", f"--registry-map=webassemblyhub.io={harbor}", "--output", "json").json

        assert len(rows) == 38
        row = next(row for row in rows if row["name"].endswith("hxpmark/auth"))
        assert row == {
            "name": "webassemblyhub.io/hxpmark/auth",
            "tag": "0.01",
            "size": 13_900,
            "digest": f"sha256:{'d696cba6':0<64}",
            "manifestDigest": f"sha256:{'d696cba6':0<64}",
            "updated": "2021-08-28T05:59:00+00:00",
            "moduleDigest": None,
        }

    def test_nothing_there(self, home: Path, run: Callable[..., Result]) -> None:
        """Without a store the head is printed, nothing is made, and that is success."""
        listed = run("list")

        assert listed.stdout == "NAME TAG SIZE SHA UPDATED\n"
        assert run("list", "--output=json").json == []
        assert list(home.iterdir()) == []

    def test_columns(self, store: Store, run: Callable[..., Result]) -> None:
        """-d adds where the module lies, --digests the manifest's digest, -w the whole tag; in this order."""
        draft = layouts.build("oci", MODULE, CONFIG)
        store.add(Reference.parse(f"h.io/x@{draft.descriptor.digest}"), draft)
        store.add(Reference.parse("h.io/y:" + "t" * 33), draft)

        plain = run("list").stdout.splitlines()
        full = run("list", "-d", "-w", "--digests").stdout.splitlines()

        assert plain[1].split()[1] == draft.descriptor.digest[7:][:32] + "..."
        assert plain[2].split()[1] == "t" * 32 + "..."
        assert full[0].split() == ["NAME", "TAG", "SIZE", "SHA", "MANIFEST", "UPDATED", "DIRECTORY"]
        for line, tag in zip(full[1:], [draft.descriptor.digest, "t" * 33], strict=True):
            cells = line.split()
            assert cells[1] == tag
            assert cells[5] == draft.descriptor.digest
            assert Path(cells[-1]).read_bytes() == MODULE

    def test_json(self, store: Store, run: Callable[..., Result]) -> None:
        """An array of what a script needs, both digests included, the time in RFC 3339."""
        draft = layouts.build("oci", MODULE, CONFIG)
        store.add(V1, draft)

        (row,) = run("list", "--output", "json").json

        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", row.pop("updated"))
        assert row == {
            "name": "h.io/demo/auth",
            "tag": "v1",
            "size": 12_553,
            "digest": sha256(MODULE),
            "manifestDigest": draft.descriptor.digest,
        }

    def test_broken_images_are_told_beside(self, store: Store, home: Path, run: Callable[..., Result]) -> None:
        """[BUG of the original: one broken image and nothing was listed] The rest is listed, the broken one told."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        (legacy_image(home / ".wasme" / "store", "h.io/half:v1") / "filter.wasm").unlink()

        listed = run("list")

        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["NAME", "h.io/demo/auth"]
        assert "image cannot be used" in listed.stderr
        assert 'image="h.io/half:v1" problem="filter.wasm: No such file or directory"' in listed.stderr

    def test_sorted_by_name_then_time(self, home: Path, run: Callable[..., Result]) -> None:
        """Not by tag: of one name, the oldest first."""
        for name, when in (("h.io/b:1", 30), ("h.io/a:1", 20), ("h.io/a:2", 10)):
            legacy_image(home / ".wasme" / "store", name, MODULE, when)

        rows = run("list", "-o", "json").json

        assert [(row["name"], row["tag"]) for row in rows] == [("h.io/a", "2"), ("h.io/a", "1"), ("h.io/b", "1")]

    def test_list_imports_nothing_that_reads_images(self, store: Store, run_alone: Callable[..., str]) -> None:
        """What reads images, networks and YAML is not imported for a list: start-up is a feature."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))

        loaded = set(run_alone("list"))

        assert "wasme.image.store.oci" in loaded
        assert not loaded & {"msgspec", "urllib3", "yaml", "ssl", "tarfile", "wasme.image.layouts", "wasme.image.copy"}


class TestTag:
    def test_logs_the_target(self, store: Store, run: Callable[..., Result]) -> None:
        """[BUG of the original: it logged the source] The line has the module's digest and the TARGET's name."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))

        told = run("tag", "h.io/demo/auth:v1", "mine", "--log-format=text")

        line = f'INFO[0000] {"tagged image":<44}  digest="{sha256(MODULE)}" image="docker.io/library/mine:latest"\n'
        assert re.sub(r"\[\d{4}\]", "[0000]", told.stderr) == line
        assert told.stdout == ""
        assert store.image(Reference.parse("mine")).config == CONFIG

    def test_json(self, store: Store, run: Callable[..., Result]) -> None:
        """The result for scripts: the name given and both digests."""
        draft = layouts.build("oci", MODULE, CONFIG)
        store.add(V1, draft)

        assert run("tag", V1, "mine:v2", "-o", "json").json == {
            "image": "docker.io/library/mine:v2",
            "digest": sha256(MODULE),
            "manifestDigest": draft.descriptor.digest,
        }

    def test_unknown_source(self, run: Callable[..., Result]) -> None:
        """The original's words, with the full reference; exit 1 without usage."""
        failed = run("tag", "nothing", "x", ok=False)

        assert failed.exit_code == 1
        assert failed.stderr.startswith("Error: failed reading image docker.io/library/nothing:latest: ")
        assert "Usage" not in failed.stderr

    def test_by_digest(self, store: Store, run: Callable[..., Result]) -> None:
        """[BUG of the original: the digest was dropped] A source by digest is that image, whatever its tag."""
        old, new = layouts.build("oci", MODULE, CONFIG), layouts.build("oci", modules.minimal(), CONFIG)
        store.add(Reference.parse("h.io/demo/auth:old"), old)
        store.add(V1, new)

        run("tag", f"h.io/demo/auth@{old.descriptor.digest}", "h.io/kept:v1")

        assert store.image(Reference.parse("h.io/kept:v1")).module.digest == sha256(MODULE)
        wrong = run("tag", f"h.io/demo/auth:v1@{old.descriptor.digest}", "h.io/x:v1", ok=False)
        assert "failed reading image h.io/demo/auth:v1@sha256:" in wrong.stderr

    @pytest.mark.parametrize(
        ("words", "complaint"), [(("a",), "accepts 2 arg(s), received 1"), (("A", "b"), "lowercase")]
    )
    def test_called_wrongly(self, run: Callable[..., Result], words: tuple[str, ...], complaint: str) -> None:
        """Too few arguments and a name that is none."""
        failed = run("tag", *words, ok=False)

        assert failed.exit_code
        assert complaint in failed.stderr


class TestRmAndPrune:
    def test_name_then_space(self, store: Store, run: Callable[..., Result]) -> None:
        """rm takes names away and says which; prune says how much it freed."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        store.add(Reference.parse("h.io/other:v1"), layouts.build("oci", modules.minimal(), CONFIG))

        removed = run("rm", "h.io/demo/auth:v1")
        assert 'msg="removed image" image="h.io/demo/auth:v1"' in removed.stderr
        assert run("prune").stdout == "freed 13.4 kB in 2 files\n"
        assert run("prune", "--output=json").json == {"files": 0, "bytes": 0, "busy": False}
        assert run("rm", "h.io/other:v1", "-o", "json").json == {"removed": ["h.io/other:v1"]}
        assert store.entries() == []

    def test_what_can_be_removed_is(self, store: Store, run: Callable[..., Result]) -> None:
        """An unknown name fails the command with what was probably meant, and holds up no other."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        store.alias(V1, Reference.parse("h.io/demo/auth:v2"))

        failed = run("rm", "h.io/demo/auth:v3", "h.io/demo/auth:v2", ok=False)

        assert failed.exit_code == 1
        assert "there is no image h.io/demo/auth:v3" in failed.stderr
        assert "did you mean" in failed.stderr
        assert [entry.tag for entry in store.entries()] == ["v1"]

    def test_two_unknown_names(self, run: Callable[..., Result]) -> None:
        """Each unknown name is named."""
        failed = run("rm", "a:1", "b:2", ok=False)

        assert "docker.io/library/a:1" in failed.stderr
        assert "docker.io/library/b:2" in failed.stderr

    def test_prune_beside_a_writer(self, store: Store, run: Callable[..., Result]) -> None:
        """While another process writes, prune says that it freed only what was idle."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        store.remove(V1)
        with open_store().writing():
            told = run("prune")

        assert told.stdout == "freed 0 B in 0 files\n"
        assert "another program is writing to the store" in told.stderr


@pytest.fixture
def run_alone(home: Path) -> Callable[..., list[str]]:
    """Run a command in a process of its own; the modules it had loaded at its end."""
    import os
    import subprocess
    import sys

    def call(*words: str) -> list[str]:
        code = "import sys; from wasme.cli.main import run; code = run(sys.argv[1:]); print('\\n'.join(sys.modules))"
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; sys.exit(code)", *words],
            capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(home)},
        )  # fmt: skip
        return done.stdout.splitlines()

    return call


@pytest.fixture
def harbor() -> Iterator[str]:
    """The hub's server, telling what the user's listing shows."""
    with serving(PUBLISHED) as host:
        yield host
