"""``wasme logout``."""

from __future__ import annotations

import logging
from pathlib import Path

from wasme.cli.grammar import at_most, command, option
from wasme.errors import InputError

log = logging.getLogger(__name__)


@command(
    "logout",
    use="logout [SERVER]",
    args=at_most(1),
    help="Forget the credentials of a server.",
    examples="wasme logout registry.example.com",
)
@option("--server", "-s", help="the registry to forget; the default is $WASM_IMAGE_REGISTRY, else webassemblyhub.io")
@option("--credentials-file", help="where they are stored; the default is $HOME/.wasme/credentials.json")
def logout(args: tuple[str, ...], server: str, credentials_file: str) -> None:
    """Take one login out of the credentials file."""
    from wasme.registry import credential_file
    from wasme.registry.credentials import default_file
    from wasme.registry.endpoint import default_server, server_name

    server, _ = server_name(server or (args[0] if args else "") or default_server())
    file = Path(credentials_file) if credentials_file else default_file()
    if not credential_file.forget(file, server):
        raise InputError(f"no credentials for {server} in {file}", hint="the file's keys are the names used to log in")
    log.info("Removed credentials for %s from %s", server, file)
