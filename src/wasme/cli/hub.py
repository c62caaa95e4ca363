"""``wasme hub serve`` and ``wasme hub user add|list|password|remove``."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import click

from wasme.cli.grammar import Group, Invocation, command, exactly, flag, option
from wasme.cli.options import output_option

_DATA = flag("--data", help="the hub's folder (default $HOME/.wasme/hub)")

user = Group(
    "user",
    table={
        "add": ("wasme.cli.hub:add", "Make an account; NAME may then push to NAME/…"),
        "list": ("wasme.cli.hub:list_users", "Show the accounts."),
        "password": ("wasme.cli.hub:password", "Give an account another password."),
        "remove": ("wasme.cli.hub:remove", "Take an account away; what it pushed stays."),
    },
    help="Manage a hub's accounts, whether the hub runs or not.",
)

hub = Group(
    "hub",
    table={
        "serve": ("wasme.cli.hub:serve", "Serve a hub until Ctrl-C."),
        "user": ("wasme.cli.hub:user", "Manage a hub's accounts."),
    },
    help="Run a hub: a registry for wasm images, with accounts and search.",
    persistent=[_DATA],
)


@command(
    "serve",
    use="hub serve",
    args=exactly(0),
    help="Serve a hub until Ctrl-C.\n\nAny OCI client can push to it and pull from it. Everyone may pull; pushing "
    "needs an account (wasme hub user add).",
    examples="wasme hub serve --listen 127.0.0.1:5000 --open",
)
@option("--listen", default="127.0.0.1:5000", help="HOST:PORT to listen on; port 0 takes a free one")
@option("--open", kind="bool", help="let anyone on this machine push without an account (loopback only)")
@option("--private", kind="bool", help="show nothing to anyone without an account")
@option("--workers", kind="int", default=1, help="processes that answer")
@option("--tls-certificate", help="PEM file of the certificate chain; serves HTTPS")
@option("--tls-key", help="PEM file of the certificate's private key")
@option(
    "--trusted-proxy",
    kind="stringArray",
    help="address or network of reverse proxies whose X-Forwarded-For is true; repeatable",
)
def serve(
    args: tuple[str, ...],  # noqa: ARG001
    data: str,
    listen: str,
    open: bool,  # noqa: A002 - the flag's name
    private: bool,
    workers: int,
    tls_certificate: str,
    tls_key: str,
    trusted_proxy: tuple[str, ...],
) -> None:
    """Serve until told to stop."""
    from wasme.cli import logs
    from wasme.hub import server
    from wasme.hub.settings import Settings, parse_listen, parse_proxies

    host, port = parse_listen(listen)
    settings = Settings(
        data=_folder(data),
        host=host,
        port=port,
        open=open,
        private=private,
        workers=workers,
        certificate=Path(tls_certificate) if tls_certificate else None,
        key=Path(tls_key) if tls_key else None,
        proxies=parse_proxies(trusted_proxy),
    )
    invocation = click.get_current_context().find_object(Invocation) or Invocation()
    configure = functools.partial(logs.configure, verbose=invocation.verbose, log_format=invocation.log_format)
    server.serve(settings, configure)


@command(
    "add",
    use="hub user add NAME",
    args=exactly(1),
    help="Make an account; NAME may then push to NAME/…",
    examples='wasme hub user add alice\necho "$PASSWORD" | wasme hub user add alice --password-stdin',
)
@option("--password-stdin", kind="bool", help="read the password from standard input")
@option("--email", help="the person's address")
@option("--realname", help="the person's name; wasme login shows it")
@option("--admin", kind="bool", help="may push and delete everywhere")
@output_option
def add(
    args: tuple[str, ...], data: str, password_stdin: bool, email: str, realname: str, admin: bool, output: str
) -> None:
    """Make an account."""
    from wasme.cli.output import emit, emit_json
    from wasme.hub.accounts import open_accounts

    with open_accounts(_folder(data)) as accounts:
        made = accounts.add(args[0], _new_password(password_stdin), email=email, realname=realname, admin=admin)
    if output == "json":
        emit_json(made)
    else:
        emit(f"user {made.name} may push to {'every name' if made.admin else made.name + '/…'}")


@command("list", use="hub user list", args=exactly(0), help="Show the accounts.")
@output_option
def list_users(args: tuple[str, ...], data: str, output: str) -> None:  # noqa: ARG001
    """Show the accounts."""
    from wasme.cli.output import emit, emit_json, table
    from wasme.hub.accounts import open_accounts

    with open_accounts(_folder(data)) as accounts:
        found = accounts.all()
    if output == "json":
        emit_json(found)
    else:
        rows = [(each.name, "yes" if each.admin else "no", each.realname or "-", each.email or "-") for each in found]
        emit(table([("NAME", "ADMIN", "REALNAME", "EMAIL"), *rows]))


@command("password", use="hub user password NAME", args=exactly(1), help="Give an account another password.")
@option("--password-stdin", kind="bool", help="read the password from standard input")
def password(args: tuple[str, ...], data: str, password_stdin: bool) -> None:
    """Give an account another password."""
    from wasme.hub.accounts import open_accounts

    with open_accounts(_folder(data)) as accounts:
        accounts.get(args[0])
        accounts.set_password(args[0], _new_password(password_stdin))


@command("remove", use="hub user remove NAME", args=exactly(1), help="Take an account away; what it pushed stays.")
def remove(args: tuple[str, ...], data: str) -> None:
    """Take an account away."""
    from wasme.hub.accounts import open_accounts

    with open_accounts(_folder(data)) as accounts:
        accounts.remove(args[0])


def _folder(data: str) -> Path:
    return Path(data) if data else Path.home() / ".wasme" / "hub"


def _new_password(from_stdin: bool) -> str:
    """From standard input, or typed twice.

    Raises:
        UsageError: there is no terminal to type on.
    """
    from wasme.cli.terminal import is_terminal, password_from_stdin
    from wasme.errors import UsageError

    if from_stdin:
        return password_from_stdin()
    if not is_terminal(sys.stdin):
        raise UsageError("there is no terminal to ask for the password on", hint="send it with --password-stdin")
    typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return typed
