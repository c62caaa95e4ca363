"""Who may do what; passwords are computed once and never outlive a change."""

import asyncio
import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wasme.errors import HubError, InputError
from wasme.hub import access as access_module
from wasme.hub import throttle as throttle_module
from wasme.hub.access import Access, Caller
from wasme.hub.accounts import Accounts, open_accounts, open_database
from wasme.hub.database import Database
from wasme.hub.refusal import Refusal
from wasme.hub.settings import Settings
from wasme.hub.throttle import Throttle

HERE = "192.0.2.1"


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "hub")
    yield opened
    opened.close()


@pytest.fixture
def accounts(database: Database) -> Accounts:
    made = Accounts(database)
    made.add("demo", "secret", realname="De Mo")
    made.add("root", "toor", admin=True)
    return made


@pytest.fixture
def access(database: Database, accounts: Accounts, tmp_path: Path) -> Access:
    return make(Settings(data=tmp_path), database, accounts)


def make(settings: Settings, database: Database, accounts: Accounts) -> Access:
    return Access(settings, accounts, Throttle(database), ThreadPoolExecutor(1), lambda: None)


def identify(access: Access, header: str | None, address: str = HERE) -> Caller:
    return asyncio.run(access.identify(header, address))


def test_no_credentials_and_skopeos_empty_ones_are_anonymous(access: Access) -> None:
    assert identify(access, None).user is None
    assert identify(access, basic("", "")).user is None
    assert identify(access, "Basic ").user is None


def test_the_right_password(access: Access) -> None:
    caller = identify(access, basic("demo", "secret"))
    assert (caller.name, caller.user and caller.user.admin) == ("demo", False)


@pytest.mark.parametrize(
    "header",
    [basic("demo", "wrong"), basic("nobody", "secret"), basic("demo", ""), basic("demo", "secret\0"), "Basic ???",
     "Basic /w==", "Bearer abc", "Basic " + "A" * 100_000],
)  # fmt: skip
def test_anything_else_is_401_with_a_challenge(access: Access, header: str) -> None:
    with pytest.raises(Refusal) as refused:
        identify(access, header)
    assert refused.value.status == 401
    assert ("www-authenticate", 'Basic realm="wasme hub", charset="UTF-8"') in refused.value.headers
    assert "secret" not in refused.value.message


def test_a_verified_password_is_not_computed_again(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = access_module.is_right
    monkeypatch.setattr(access_module, "is_right", lambda *pair: calls.append(1) or real(*pair))
    for _ in range(3):
        identify(access, basic("demo", "secret"))
    assert len(calls) == 1


def test_equal_questions_at_the_same_time_are_computed_once(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = access_module.is_right
    monkeypatch.setattr(access_module, "is_right", lambda *pair: calls.append(1) or real(*pair))

    async def together() -> list[Caller]:
        return await asyncio.gather(*(access.identify(basic("demo", "secret"), HERE) for _ in range(5)))

    assert [caller.name for caller in asyncio.run(together())] == ["demo"] * 5
    assert len(calls) == 1


def test_a_changed_password_and_a_removed_account_count_at_once(access: Access, accounts: Accounts) -> None:
    """What was remembered holds only for the same password hash."""
    identify(access, basic("demo", "secret"))
    accounts.set_password("demo", "other")
    with pytest.raises(Refusal):
        identify(access, basic("demo", "secret"))
    assert identify(access, basic("demo", "other")).name == "demo"
    accounts.remove("demo")
    with pytest.raises(Refusal):
        identify(access, basic("demo", "other"))


def test_guessing_is_stopped_for_this_address_and_account_only(access: Access) -> None:
    """The tenth wrong password is the last one tried; another address and another account still get in."""
    for number in range(throttle_module.FOR_ONE_ACCOUNT):
        with pytest.raises(Refusal) as refused:
            identify(access, basic("demo", f"guess{number}"))
        assert refused.value.status == 401
    with pytest.raises(Refusal) as refused:
        identify(access, basic("demo", "secret"))
    assert refused.value.status == 429
    (seconds,) = [int(value) for name, value in refused.value.headers if name == "retry-after"]
    assert 0 < seconds <= throttle_module.WINDOW / 1000
    assert identify(access, basic("root", "toor")).name == "root"
    assert identify(access, basic("demo", "secret"), "192.0.2.2").name == "demo"


def test_trying_many_accounts_from_one_address_is_stopped(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_module, "FOR_ONE_SOURCE", 5)
    for number in range(5):
        with pytest.raises(Refusal):
            identify(access, basic(f"user{number}", "x"))
    with pytest.raises(Refusal) as refused:
        identify(access, basic("root", "toor"))
    assert refused.value.status == 429


def test_wrong_passwords_are_forgotten_after_a_while(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle_module, "FOR_ONE_ACCOUNT", 1)
    with pytest.raises(Refusal):
        identify(access, basic("demo", "wrong"))
    with pytest.raises(Refusal, match="too many"):
        identify(access, basic("demo", "secret"))
    monkeypatch.setattr(throttle_module, "WINDOW", 0)
    assert identify(access, basic("demo", "secret")).name == "demo"


def test_guesses_sent_at_once_do_not_slip_through(access: Access) -> None:
    """A hundred at the same moment: no more are computed than the limit lets through one after another."""

    async def together() -> list[BaseException | Caller]:
        attempts = (access.identify(basic("demo", f"guess{number}"), HERE) for number in range(100))
        return await asyncio.gather(*attempts, return_exceptions=True)

    statuses = [answer.status for answer in asyncio.run(together()) if isinstance(answer, Refusal)]
    assert len(statuses) == 100
    assert statuses.count(401) <= throttle_module.FOR_ONE_ACCOUNT


def test_guesses_from_one_ipv6_network_are_one_clients(access: Access) -> None:
    """Everybody on IPv6 has 2^64 addresses to guess from; a neighbour's network is not shut out with them."""
    for number in range(throttle_module.FOR_ONE_ACCOUNT):
        with pytest.raises(Refusal) as refused:
            identify(access, basic("demo", f"guess{number}"), f"2001:db8:0:1::{number:x}:1")
        assert refused.value.status == 401
    with pytest.raises(Refusal) as refused:
        identify(access, basic("demo", "secret"), "2001:db8:0:1:ffff::")
    assert refused.value.status == 429
    assert identify(access, basic("demo", "secret"), "2001:db8:0:2::1").name == "demo"


def test_one_ipv6_network_does_not_take_every_place(access: Access) -> None:
    """A hundred of its addresses ask at once, each for another account; somebody else still gets in."""

    async def together() -> list[BaseException | Caller]:
        crowd = [access.identify(basic(f"user{number}", "x"), f"2001:db8::{number:x}") for number in range(100)]
        return await asyncio.gather(*crowd, access.identify(basic("root", "toor"), HERE), return_exceptions=True)

    *_, last = asyncio.run(together())
    assert isinstance(last, Caller)
    assert last.name == "root"


def test_guessing_from_many_addresses_is_slowed_and_locks_nobody_out(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wrong password makes the next answer later, wherever it is asked from; other accounts notice nothing."""
    monkeypatch.setattr(throttle_module, "FROM_EVERYWHERE", 3)
    monkeypatch.setattr(throttle_module, "PAUSE", 4.0)
    for number in range(4):
        with pytest.raises(Refusal) as refused:
            identify(access, basic("demo", f"guess{number}"), f"198.51.100.{number}")
        assert refused.value.status == 401

    def seconds(name: str, password: str) -> float:
        begun = time.monotonic()
        assert identify(access, basic(name, password)).name == name
        return time.monotonic() - begun

    assert seconds("root", "toor") < 3.5
    assert seconds("demo", "secret") >= 4
    assert seconds("demo", "secret") < 3.5  # remembered
    access._verified.clear()
    monkeypatch.setattr(throttle_module, "LONGEST_PAUSE", 0.01)
    assert seconds("demo", "secret") < 3.5


def test_slowed_attempts_wait_apart(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account under attack from everywhere: its attempts are few at a time, and take no other account's place."""
    monkeypatch.setattr(throttle_module, "FROM_EVERYWHERE", 0)
    with pytest.raises(Refusal):
        identify(access, basic("demo", "wrong"), "198.51.100.1")
    monkeypatch.setattr(throttle_module, "PAUSE", 0.5)

    async def together() -> list[BaseException | Caller]:
        crowd = [access.identify(basic("demo", f"guess{number}"), f"203.0.113.{number}") for number in range(100)]
        return await asyncio.gather(*crowd, access.identify(basic("root", "toor"), HERE), return_exceptions=True)

    *guesses, last = asyncio.run(together())
    assert isinstance(last, Caller)
    statuses = [each.status for each in guesses if isinstance(each, Refusal)]
    assert (statuses.count(401), statuses.count(429)) == (16, 84)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_whose_attempts_are_counted_together(address: str, counted: str) -> None:
    assert throttle_module.source(address) == counted


def test_users_push_under_their_own_name_and_admins_everywhere(access: Access) -> None:
    """The original's hub answered 404 without a word; here the message names the place that is allowed."""
    demo, root = identify(access, basic("demo", "secret")), identify(access, basic("root", "toor"))
    access.check_push(demo, "demo/filter", "hub:1", None)
    access.check_push(root, "anything", "hub:1", None)
    for elsewhere in ("other/filter", "demo", "demo2/filter", "demo-x/filter"):
        with pytest.raises(Refusal, match="under demo/ only") as refused:
            access.check_push(demo, elsewhere, "hub:1", None)
        assert (refused.value.status, refused.value.code) == (403, "DENIED")
    with pytest.raises(Refusal) as refused:
        access.check_push(Caller(None, HERE), "demo/filter", "hub:1", None)
    assert refused.value.status == 401


def test_web_pages_of_others_cannot_write(access: Access) -> None:
    demo = identify(access, basic("demo", "secret"))
    access.check_push(demo, "demo/x", "hub:1", "http://hub:1")
    access.check_push(demo, "demo/x", "HUB:1", "http://hub:1")
    for host in ("hub:1", "", None):
        for origin in (
            "http://evil.example",
            "null",
            "http://hub:1.evil.example",
            "http://[",
            "http://a\u2100b",
            "",
            "//",
        ):
            with pytest.raises(Refusal) as refused:
                access.check_push(demo, "demo/x", host, origin)
            assert (refused.value.status, refused.value.code) == (403, "DENIED")


def test_an_open_hub_believes_this_machines_names_only(database: Database, accounts: Accounts, tmp_path: Path) -> None:
    """A name that somebody made resolve to 127.0.0.1 is not this machine's (DNS rebinding)."""
    access = make(Settings(data=tmp_path, open=True), database, accounts)
    for host in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000", "localhost", "[::1]"):
        access.check_push(Caller(None, "127.0.0.1"), "any/thing", host, None)
    for host in ("evil.example:5000", None, "", "localhost.evil.example"):
        with pytest.raises(Refusal):
            access.check_push(Caller(None, "127.0.0.1"), "any/thing", host, None)


@pytest.mark.parametrize(
    ("listens", "host", "forwarded", "answered"),
    [
        ("127.0.0.1", "localhost:5000", False, True),
        ("127.0.0.1", "LOCALHOST:5000", False, True),
        ("127.0.0.1", "127.0.0.1", False, True),
        ("::1", "[::1]:5000", False, True),
        ("localhost", "hub.localhost", False, True),
        ("127.0.0.1", "evil.example:5000", False, False),
        ("127.0.0.1", "192.0.2.1", False, False),
        ("127.0.0.1", "[", False, False),
        ("127.0.0.1", "", False, False),
        ("127.0.0.1", None, False, False),
        ("127.0.0.1", "hub.example:443", True, True),
        ("0.0.0.0", "hub.example:5000", False, True),
    ],
)
def test_a_hub_on_loopback_answers_to_this_machines_names(
    database: Database,
    accounts: Accounts,
    tmp_path: Path,
    listens: str,
    host: str | None,
    forwarded: bool,
    answered: bool,
) -> None:
    """A page whose name was made to resolve to 127.0.0.1 must not read what lies here (DNS rebinding)."""
    access = make(Settings(data=tmp_path, host=listens), database, accounts)
    if answered:
        access.check_host(host, forwarded=forwarded)
    else:
        with pytest.raises(Refusal) as refused:
            access.check_host(host, forwarded=forwarded)
        assert refused.value.status == 421


def test_a_private_hub_shows_nothing_without_an_account(database: Database, accounts: Accounts, tmp_path: Path) -> None:
    access = make(Settings(data=tmp_path, private=True), database, accounts)
    with pytest.raises(Refusal) as refused:
        access.check_pull(Caller(None, HERE))
    assert refused.value.status == 401
    access.check_pull(identify(access, basic("demo", "secret")))


def test_accounts_are_checked_when_made(accounts: Accounts) -> None:
    for name in ("Demo", "a/b", "", "a:b", "a" * 65):
        with pytest.raises(InputError, match="user's name"):
            accounts.add(name, "x")
    with pytest.raises(InputError, match="empty"):
        accounts.add("new", "")
    with pytest.raises(InputError, match="1024"):
        accounts.add("new", "x" * 1025)
    with pytest.raises(HubError, match="already"):
        accounts.add("demo", "x")
    for unknown in (lambda: accounts.remove("who"), lambda: accounts.set_password("who", "x")):
        with pytest.raises(HubError, match="no user"):
            unknown()
    assert [(user.name, user.admin, user.realname) for user in accounts.all()] == [
        ("demo", False, "De Mo"),
        ("root", True, ""),
    ]


def test_the_folder_keeps_passwords_from_others(tmp_path: Path) -> None:
    """No password stands in the files, and only their owner can read them."""
    with open_accounts(tmp_path / "hub") as accounts:
        accounts.add("demo", "correct horse battery")
    files = [path for path in (tmp_path / "hub").rglob("*") if path.is_file()]
    assert files
    assert (tmp_path / "hub").stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert not any(b"correct horse" in path.read_bytes() for path in files)
