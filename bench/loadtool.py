"""Build the load program from the C sources in ``load/``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

from bench.processes import BenchError

__all__ = ["LoadProgram", "build"]

HERE = Path(__file__).resolve().parent
BUILD = HERE / "build"
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
TLS = ["-DWITH_TLS", "-lssl", "-lcrypto"]
PROBE = "#include <openssl/ssl.h>\nint main(void) { return !TLS_client_method(); }\n"


@frozen
class LoadProgram:
    """
    The program, ready to run.

    :ivar tls: whether it was built with OpenSSL.
    :ivar compiler: what built it.
    """

    path: Path
    tls: bool
    compiler: str


def build() -> LoadProgram:
    """
    Compile the program.

    :raises BenchError: there is no C compiler, or it refuses; with what it said.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchError("There is no C compiler (cc); the load program needs one.")
    BUILD.mkdir(exist_ok=True)
    tls = _compile(compiler, ["-x", "c", "-"], TLS, Path(os.devnull), PROBE).returncode == 0
    # Under another name at first: a second run may be using the program right now.
    made, path = BUILD / f"wsload.{os.getpid()}", BUILD / "wsload"
    sources = [str(source) for source in sorted((HERE / "load").glob("*.c"))]
    done = _compile(compiler, sources, TLS if tls else [], made)
    if done.returncode:
        raise BenchError(f"The load program does not compile:\n{done.stderr}")
    made.replace(path)
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True)
    return LoadProgram(path, tls, version.stdout.partition("\n")[0])


def _compile(
    compiler: str, sources: list[str], extra: list[str], output: Path, text: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [compiler, *FLAGS, *sources, "-o", str(output), *extra]
    return subprocess.run(command, input=text, capture_output=True, text=True)
