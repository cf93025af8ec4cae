"""relay.ini, or the command line's short form -> a `RelayConfig`, or everything that is wrong."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve

from wsrelay.config.assemble import assemble
from wsrelay.config.blocks import Block, Job, Setting
from wsrelay.config.build import build_admin
from wsrelay.config.checks import Checks
from wsrelay.config.errors import ConfigErrors, ConfigUnreadable, Place
from wsrelay.config.evaluate import evaluate, read_value
from wsrelay.config.model import AdminConfig, RelayConfig
from wsrelay.config.options import Option
from wsrelay.config.reader import read
from wsrelay.config.table import KINDS

__all__ = ["load", "load_admin", "parse", "short_form"]


def load(
    path: str | os.PathLike[str], env: Mapping[str, str], checks: Checks, called: str = ""
) -> RelayConfig:
    """
    Read a file, and nothing else but whether the files that it names exist.

    :param called: what errors call it; empty: as *path* is given.
    :param env: where ``${NAME}`` is looked up.
    :raises ConfigUnreadable: the file cannot be read.
    :raises ConfigErrors: the file is wrong.
    """
    file = called or os.fspath(path)
    text = _contents(path, file)
    # Not Path.is_file, which raises for a name too long or a folder that is closed to us.
    real = evolve(checks, file_exists=os.path.isfile)
    return parse(text, file, Path(path).absolute().parent, env, real)


def load_admin(path: str | os.PathLike[str], env: Mapping[str, str]) -> AdminConfig | None:
    """
    Read ``[admin]`` of a file, for whoever wants to talk to the relay that runs with it.

    What is wrong elsewhere in the file, or what only the relay's own environment has, is no
    hindrance; nothing is checked but the values themselves.

    :returns: None if it does not listen.
    :raises ConfigUnreadable: the file cannot be read.
    :raises ConfigErrors: ``[admin]`` is wrong.
    """
    file = os.fspath(path)
    job = Job(file, Path(file).absolute().parent, env, Checks())

    def report(line: int, section: str, option: str, message: str) -> None:
        if section == "admin":
            job.report(Place(file, line, section, option), message)

    written = read(_decoded(_contents(file, file), file), report)
    blocks = [evaluate(section, job) for section in written if section.header == "admin"]
    admin = build_admin(blocks[0], job) if blocks and blocks[0] else None
    if job.errors:
        raise ConfigErrors(job.errors)
    return admin


def _contents(path: str | os.PathLike[str], file: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigUnreadable(f"{file}: cannot be read: {reason}") from None


def parse(
    text: bytes, file: str, folder: Path, env: Mapping[str, str], checks: Checks
) -> RelayConfig:
    """
    Parse the contents of a relay.ini.

    :param file: what errors call it.
    :param folder: absolute; what relative paths are relative to.
    :raises ConfigErrors: with all errors there are.
    """
    job = Job(file, folder, env, checks)

    def report(line: int, section: str, option: str, message: str) -> None:
        job.report(Place(file, line, section, option), message)

    sections = read(_decoded(text, file), report)
    blocks = [evaluate(section, job) for section in sections]
    return _whole([block for block in blocks if block], job)


def short_form(listen: Sequence[str], upstream: Sequence[str], checks: Checks) -> RelayConfig:
    """
    Build what ``--listen`` and ``--upstream`` say.

    :param listen: endpoint strings, at least one.
    :param upstream: as in a pool's ``upstreams``, at least one; the path of a
        unix socket is relative to the current directory.
    :raises ConfigErrors: each names the argument instead of a file.
    """
    job = Job("", Path.cwd(), {}, checks)
    options = KINDS["relay"].options
    settings = {
        "listen": _arguments("--listen tcp:8080", listen, options["listen"], job),
        "upstream": _arguments("--upstream ws://HOST:PORT", upstream, options["upstream"], job),
    }
    written = {name: Place(f"--{name}") for name in settings}
    return _whole([Block("relay", "", Place(""), settings, written)], job)


def _arguments(example: str, texts: Sequence[str], option: Option, job: Job) -> Setting:
    """Parse what an option of the command line was given, each time it was."""
    flag = example.partition(" ")[0]
    if not texts:
        job.report(Place(flag), f"is missing; add {example}, say")
    good = []
    for text in map(str.strip, texts):
        place = Place(f"{flag} {text}".strip())
        try:
            if not text:
                raise ValueError(f"there is nothing behind it; expected {example}, say")
            good.append((read_value(option, text, job), place))
        except ValueError as error:
            job.report(place, str(error))
    return Setting(tuple(value for value, _ in good), tuple(place for _, place in good))


def _whole(blocks: Sequence[Block], job: Job) -> RelayConfig:
    config = assemble(blocks, job)
    if job.errors:
        raise ConfigErrors(job.errors)
    return config


def _decoded(text: bytes, file: str) -> str:
    text = text.removeprefix(codecs.BOM_UTF8)
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        place = Place(file, before.count(b"\n") + 1)
        message = f"byte 0x{text[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise ConfigErrors([place.error(message)]) from None
