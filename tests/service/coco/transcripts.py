"""Transcripts of the reference servers: read into exchanges, and sent again to a server of ours.

The files are third-party material: read where they are, never committed. Two forms are read, those that
were taken between a client and its server and those of requests sent by hand; a body is as long as its
``content-length`` says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.components import require

_ROOT = Path(__file__).resolve().parents[3]
_WIRE = re.compile(r"^===== \S+ conn \d+ (REQUEST|RESPONSE) .*=====$", re.MULTILINE)
_RAW = re.compile(r"^----- (REQUEST|RESPONSE) \(\d+ bytes\) -----$", re.MULTILINE)
_TITLE = re.compile(r"^## (.+)$", re.MULTILINE)
_COUNT = re.compile(r"^content-length: *(\d+)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Message:
    """One half of an exchange: the first line, headers by lower-case name, and the body."""

    start: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Exchange:
    """A request and what the reference answered.

    Attributes:
        key: file's number and place in it: ``04/3``.
        title: what the file calls it, where it does.
        request: as it was sent.
        response: as it was answered; None: the connection was cut.
    """

    key: str
    title: str
    request: Message
    response: Message | None

    @property
    def method(self) -> str:
        return self.request.start.split(" ")[0]

    @property
    def target(self) -> str:
        return self.request.start.split(" ")[1]

    @property
    def status(self) -> int | None:
        return None if self.response is None else int(self.response.start.split(" ")[1])


def transcripts() -> Path:
    """Their folder, beside the third-party vectors; skips where it is absent, fails there under CI."""
    vectors = Path(os.environ.get("TOUCHSTONE_VECTORS", _ROOT.parent / "shared" / "vectors"))
    folder = vectors.parent / "spec" / "transcripts"
    require(folder.is_dir(), f"no transcripts at {folder} (set TOUCHSTONE_VECTORS)")
    return folder


def read(folder: Path, number: str) -> Iterator[Exchange]:
    """The exchanges of the file of a number."""
    (path,) = folder.glob(f"{number}_*.txt")
    text = path.read_text(encoding="utf-8")
    marker = _WIRE if "===== kbs-client stdout" in text else _RAW
    found = list(marker.finditer(text))
    ends = [*(match.start() for match in found[1:]), len(text)]
    parts = [
        (match.group(1), match.start(), text[match.end() + 1 : end])
        for match, end in zip(found, ends, strict=True)
    ]
    titles = [(match.start(), match.group(1)) for match in _TITLE.finditer(text)]
    assert [kind for kind, _, _ in parts] == ["REQUEST", "RESPONSE"] * (len(parts) // 2), path
    for index in range(0, len(parts), 2):
        (_, at, request), (_, _, response) = parts[index], parts[index + 1]
        title = next((name for start, name in reversed(titles) if start < at), "")
        yield Exchange(
            key=f"{number}/{index // 2 + 1}",
            title=title,
            request=_message(request),
            response=_message(response) if response.startswith("HTTP/") else None,
        )


def _message(text: str) -> Message:
    head, _, rest = text.partition("\n\n")
    start, *lines = head.split("\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    count = _COUNT.search(head)
    return Message(start, headers, rest.encode()[: int(count.group(1)) if count else 0])
