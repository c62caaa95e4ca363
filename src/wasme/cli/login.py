"""``wasme login``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from wasme.cli.grammar import at_most, command, option
from wasme.cli.options import registry_map_option
from wasme.errors import UsageError, WasmeError

log = logging.getLogger(__name__)


@command(
    "login",
    use="login",
    args=at_most(1),
    help="Log in so you can push images to the remote server.\n\n"
    "The password is checked with the server (a hub, or any OCI registry) before it is stored; what a file knows of "
    "other servers stays in it.",
    examples="wasme login -s registry.example.com -u me --password-stdin < token",
)
@option("--username", "-u", help="login username")
@option("--password", "-p", help="login password; --password-stdin keeps it out of the process list")
@option("--password-stdin", kind="bool", help="read the password from standard input")
@option(
    "--server",
    "-s",
    help="the registry to log in to; the default is $WASM_IMAGE_REGISTRY, else webassemblyhub.io",
)
@option("--credentials-file", help="where to store it; the default is $HOME/.wasme/credentials.json")
@option("--plaintext", kind="bool", help="use plain http to log in, not https")
@option("--insecure", kind="bool", help="accept any TLS certificate of the server")
@registry_map_option
def login(
    args: tuple[str, ...],
    username: str,
    password: str,
    password_stdin: bool,
    server: str,
    credentials_file: str,
    plaintext: bool,
    insecure: bool,
    registry_map: Mapping[str, str],
) -> None:
    """Check a password with a server, then store it."""
    from wasme.cli import sessions
    from wasme.registry import credential_file
    from wasme.registry.credentials import default_file
    from wasme.registry.endpoint import default_server, server_name
    from wasme.registry.login import login as check

    if args:
        # The original took a word here and passed it over: no password goes to a host that nobody meant as one.
        raise UsageError(f"login takes the registry as a flag, not as {args[0]!r}", hint=f"use -s {args[0]}")
    server, plain = server_name(server or default_server())
    # A name that leads nowhere is told before anybody types a password.
    session = sessions.opened(insecure=insecure, plain_http=plaintext or plain, registry_map=registry_map)
    host = session.endpoint(server).origin.netloc
    if host != server:
        log.info("%s is led to %s, which gets the password", server, host)
    username = username or _ask("Enter username")
    if not username:
        raise UsageError("must specify username")
    password = sessions.read_password(username, password, password_stdin=password_stdin)
    password = password or (_ask("Enter password", hidden=True) if not password_stdin else "")
    if not password:
        raise UsageError("must specify password")
    realname = check(session, server, username, password)
    file = Path(credentials_file) if credentials_file else default_file()
    credential_file.remember(file, server, username, password)
    log.info("Successfully logged in as %s (%s)", username, realname)
    log.info("stored credentials in %s", file)


def _ask(question: str, *, hidden: bool = False) -> str:
    """What a person types; "" where nobody is there to type."""
    from wasme.cli.terminal import ask_password, is_terminal

    if not is_terminal(sys.stdin):
        return ""
    import click

    try:
        if hidden:
            return ask_password(question)
        answer: str = click.prompt(question, default="", show_default=False, err=True)
    except (click.Abort, KeyboardInterrupt):
        raise WasmeError("interrupted") from None
    return answer
