"""What files are called in messages and records: one line of valid text. They are opened by their own names."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Control characters, ends of lines, what turns the direction of text, and halves of characters: Python keeps a byte of
# a file's name that is no UTF-8 as one of these.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_KEPT_BYTES = range(0xDC80, 0xDD00)


def one_line(name: str | os.PathLike[str]) -> str:
    """A name, or a text that holds some, with escapes such as ``\\n`` and ``\\xff`` for what fits in no line."""
    return _UNFIT.sub(lambda match: _escape(match[0]), os.fspath(name))


def short_name(path: str | os.PathLike[str]) -> str:
    """The last two parts of a path, for records: they name no folder of this machine."""
    return one_line("/".join(Path(path).absolute().parts[-2:]))


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code & 0xFF:02x}" if code in _KEPT_BYTES else character.encode("unicode_escape").decode("ascii")
