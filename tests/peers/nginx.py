"""nginx as a process of its own, which touches nothing but a folder of the test's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support import Process, require_program

CONFIG = """\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    server {{
{server}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, port: int, server: str) -> Iterator[Process]:
    """
    Run nginx until the block ends.

    :param folder: an empty one, or none yet; nginx's user must be able to enter it.
    :param port: the one that *server* listens on.
    :param server: what stands in its server block.
    """
    (folder / "temp").mkdir(parents=True)
    (folder / "nginx.conf").write_text(CONFIG.format(server=server))
    command = [require_program("nginx"), "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]
    with Process(command) as process:
        process.wait_for_port(port)
        yield process
