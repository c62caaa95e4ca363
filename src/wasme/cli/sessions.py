"""The flags about registries, as every command that talks to one reads them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence

from wasme.cli.terminal import is_terminal, password_from_stdin
from wasme.errors import InvalidSettings, UsageError
from wasme.registry.credentials import Keychain
from wasme.registry.endpoint import check_map
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions

log = logging.getLogger(__name__)


def opened(
    *,
    config: Sequence[str] = (),
    username: str = "",
    password: str = "",
    password_stdin: bool = False,
    insecure: bool = False,
    plain_http: bool = False,
    registry_map: Mapping[str, str] | None = None,
) -> Session:
    """The session that the flags describe; nothing is sent yet.

    Raises:
        UsageError: flags that contradict each other, or a registry map that leads nowhere.
        InvalidSettings: the user's settings cannot be read.
    """
    checked_map(registry_map or {})
    password = read_password(username, password, password_stdin=password_stdin)
    return Session(
        ConnectionOptions(insecure=insecure, plain_http=plain_http),
        Keychain(username, password, config),
        registry_map,
    )


def checked_map(registry_map: Mapping[str, str]) -> Mapping[str, str]:
    """What ``--registry-map`` says.

    Raises:
        UsageError: it leads nowhere.
    """
    try:
        check_map(registry_map)
    except InvalidSettings as error:
        raise UsageError(f'invalid argument for "--registry-map" flag: {error.message}', hint=error.hint) from None
    return registry_map


def read_password(username: str, password: str, *, password_stdin: bool) -> str:
    """The password from ``--password`` or, with ``--password-stdin``, from standard input without its line's end.

    Raises:
        UsageError: both, or a password from standard input for nobody.
    """
    if not password_stdin:
        if password and is_terminal(sys.stderr):
            log.warning("a password on the command line is seen by every process here; use --password-stdin")
        return password
    if password:
        raise UsageError("--password and --password-stdin are mutually exclusive")
    if not username:
        raise UsageError("--password-stdin needs --username")
    return password_from_stdin()
