"""Which relay is meant: from options, the environment and relay.ini, in that order."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from wsrelay.admin.token import read_token
from wsrelay.config import ConfigErrors, ConfigUnreadable, load_admin
from wsrelay.config.model import AdminConfig
from wsrelay.operate.address import Address, address_of_endpoint, parse_address
from wsrelay.operate.troubles import BadSetting

__all__ = ["Whereabouts", "find"]

USUAL_FILES: Final = ("relay.ini", "/etc/wsrelay/relay.ini")
"""Where relay.ini is looked for when nobody says."""

_LISTEN = "listen = tcp:9000:interface=127.0.0.1"


@frozen
class Whereabouts:
    """Where the admin endpoint is, and the word that opens it ("" if there is none)."""

    address: Address
    token: str


def find(options: Namespace, env: Mapping[str, str]) -> Whereabouts:
    """
    Find the admin endpoint and its token.

    The command line goes before the environment, both before the usual files.  The token
    of a file that was found, not named, is for that file's own endpoint only.

    :raises BadSetting: nothing says where it is, or something says it wrongly.
    """
    file = options.config or ("" if options.admin else env.get("WSRELAY_CONFIG", ""))
    url = options.admin or ("" if options.config else env.get("WSRELAY_ADMIN", ""))
    if url:
        address = _address(url, "--admin" if options.admin else "WSRELAY_ADMIN")
        admin = _written(file, env) if file else None
    else:
        file = file or _usual_file()
        admin = _written(file, env)
        address = _listening(admin, file)
    return Whereabouts(address, _token(options, env, admin))


def _address(url: str, source: str) -> Address:
    try:
        return parse_address(url)
    except ValueError as error:
        raise BadSetting(f"{source}: {error}") from error


def _usual_file() -> str:
    for path in USUAL_FILES:
        if os.path.exists(path):
            return path
    raise BadSetting(
        "nothing says where the relay's admin endpoint is; write [admin] and"
        f" {_LISTEN} into relay.ini and name the file with --config FILE,"
        " or say --admin http://127.0.0.1:9000"
    )


def _written(file: str, env: Mapping[str, str]) -> AdminConfig | None:
    try:
        return load_admin(file, env)
    except (ConfigUnreadable, ConfigErrors) as error:
        raise BadSetting(str(error)) from error


def _listening(admin: AdminConfig | None, file: str) -> Address:
    if admin is None:
        raise BadSetting(
            f"{file}: there is no admin endpoint; write [admin] and {_LISTEN} into it"
            " and restart the relay, or say --admin URL"
        )
    try:
        return address_of_endpoint(admin.listen)
    except ValueError as error:
        raise BadSetting(f"{file}: [admin] listen: {error}") from error


def _token(options: Namespace, env: Mapping[str, str], admin: AdminConfig | None) -> str:
    """Return the token; that of relay.ini only if nothing else names one."""
    if options.token_file:
        return _read(Path(options.token_file), "--token-file")
    if env.get("WSRELAY_TOKEN"):
        return _checked(env["WSRELAY_TOKEN"])
    if admin is None or admin.token_file is None:
        return ""
    return _read(admin.token_file, "[admin] token_file")


def _read(path: Path, source: str) -> str:
    try:
        return read_token(path)
    except ValueError as error:
        raise BadSetting(f"{source}: {error}") from error


def _checked(token: str) -> str:
    # It becomes a header, where a line break would begin another one.
    if not (token.isascii() and token.isprintable() and len(token.split()) == 1):
        raise BadSetting("WSRELAY_TOKEN: a token is one word of ASCII letters and digits")
    return token.strip()
