"""
Write docs/answers.rst from the table of refusals.

``python docs/make_answers.py > docs/answers.rst``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from wsrelay.relay.refusals import REFUSALS, Refusal

HEAD = """\
Answers
=======

What an upstream answers is what the client gets.  Where there is none, the relay answers itself,
with a short ``text/plain`` body that says what is wrong.  The connection ends then, unless it was
a sound plain request that had come whole.  429, 502, 503 and 504 come with ``Retry-After``, a
426 for another version of the websocket protocol with ``Sec-WebSocket-Version: 13``.

The word is the ``reason`` by which ``wsrelay_rejected_total`` counts, and by which refusals are
summed up in the `access log <access-log.rst>`_; ``upstream`` stands there for what upstreams
refused.  499 is no answer: it stands for a client that has left.

Files have answers of their own: `behaviour <behaviour.rst#static-files-and-redirects>`_.  What is
said in close frames, once a session is open, is `there <behaviour.rst#the-close>`_, too.

.. list-table::
   :header-rows: 1
   :widths: 24 16 60

   * - reason
     - answer
     - when
"""


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(f"{line}\n" for word in REFUSALS for line in row(word, REFUSALS[word]))


def row(word: str, refusal: Refusal) -> Iterator[str]:
    """Yield the lines of one row."""
    yield f"   * - ``{word}``"
    yield f"     - {', '.join(map(str, refusal.answers))}"
    yield f"     - {refusal.help}"


if __name__ == "__main__":
    print(page(), end="")
