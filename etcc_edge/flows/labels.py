"""Label spellings: what counts as one label, and how it is written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from etcc_edge.arrays import I64, Text
from etcc_edge.errors import FlowsError

# The usual spelling of the labels that public data sets use; others keep their most frequent spelling.
_SPELLINGS = (
    *("Tor", "Non-Tor", "VPN", "Non-VPN"),
    *("Audio-Streaming", "Video-Streaming", "Streaming", "Audio", "Video", "VOIP"),
    *("Browsing", "Chat", "Email", "File-Transfer", "FTP", "P2P"),
)

# The paper's five applications (its Table 2), by the names that CICDarknet2020 and the paper give them.
PAPER_APPLICATIONS = frozenset(
    ["chat", "ftp", "filetransfer", "email", "audio", "audiostreaming", "video", "videostreaming"]
)


# What meters and tables write where a flow has no label, as `label_key` gives it.
_NONE = frozenset(["", "?", "nan", "none", "null", "nolabel", "needmanuallabel", "n/a"])


@lru_cache(maxsize=4096)  # a file repeats few labels
def label_key(text: str) -> str:
    """The form in which labels are compared: case, dashes, underscores, white space and invisible characters do not
    matter."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in plain if not (c.isspace() or c == "_" or unicodedata.category(c) in ("Pd", "Cf")))


_BY_KEY = {label_key(spelling): spelling for spelling in _SPELLINGS}


def spell(labels: Iterable[str]) -> dict[str, str]:
    """How each label key among ``labels`` is written. Dashes and blanks alone are no label, nor is what stands for none
    ("NaN", "?", "No Label", "NeedManualLabel", …): those are written as nothing."""
    counted: Counter[str] = Counter()
    for label, rows in Counter(labels).items():
        counted["".join(c for c in label if unicodedata.category(c) != "Cf").strip()] += rows
    spelling: dict[str, str] = {}
    for label, _ in counted.most_common():
        key = label_key(label)
        spelling.setdefault(key, "" if key in _NONE else _BY_KEY.get(key, label))
    return spelling


def codes_of(labels: tuple[str, ...], text: Text) -> I64:
    """Index of each label in ``labels``, compared by `label_key`; -1 for a label that is not among them."""
    index = {label_key(label): i for i, label in enumerate(labels)}
    values, inverse = np.unique(text, return_inverse=True)
    return np.array([index.get(label_key(value), -1) for value in values.tolist()], np.int64)[inverse]


def label_columns(levels: tuple[str, ...], *, known: bool = False) -> list[str]:
    """The names of the columns that are added to a flow's own."""
    columns = [f"etcc_{level}{suffix}" for level in levels for suffix in ("", "_confidence")]
    return [*columns, "etcc_known"] if known else columns


def check_label_columns(added: Iterable[str], own: Iterable[str], name: str, remedy: str = "leave it out") -> None:
    """Raises FlowsError where the flows called ``name`` have one of the columns that are to be added to their
    ``own``."""
    if twice := set(added) & {column.strip() for column in own}:
        raise FlowsError(f"{name}: has a column {min(twice)!r} already; {remedy}")
