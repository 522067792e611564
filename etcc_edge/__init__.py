"""Names the encryption protocol and the application of encrypted flows."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from etcc_edge.errors import BackendError, BundleError, EtccError, FlowsError
from etcc_edge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etcc_edge.bundle import Bundle
    from etcc_edge.engines.result import Result
    from etcc_edge.infer.classifier import Classifier
    from etcc_edge.meter import CaptureBatch

__all__ = [
    "BackendError",
    "BundleError",
    "Classifier",
    "EtccError",
    "FlowsError",
    "Result",
    "__version__",
    "label",
    "load",
    "read_capture",
]


def _join_installed() -> None:
    """In a checkout, this folder comes before the installed package and lacks its compiled module: then everything else
    is imported from the installed package. Raises ImportError where none is installed."""
    here = os.path.dirname(__file__)
    if any(name.startswith("_native.") and not name.endswith(".pyi") for name in os.listdir(here)):
        return
    from importlib.util import find_spec

    if find_spec(f"{__name__}._native") is not None:  # an editable installation
        return
    for folder in sys.path:
        installed = os.path.join(folder, __name__)
        if os.path.isfile(os.path.join(installed, "__init__.py")) and not os.path.samefile(installed, here):
            __path__[:] = [installed]
            return
    raise ImportError(f"{here} is the source, without its compiled module; install it first: pip install .")


_join_installed()


def load(bundle: Bundle | str | os.PathLike[str] = "default", **options: Any) -> Classifier:
    """A `Classifier` for a shipped bundle by name, or for one at a path; options as `Classifier` takes them."""
    from etcc_edge.infer.classifier import Classifier

    return Classifier(bundle, **options)


def label(
    table: Any,
    bundle: Bundle | str | os.PathLike[str] = "auto",
    *,
    view: str | None = None,
    known: bool = False,
    **options: Any,
) -> Any:
    """A table of flows with its labels, as `Classifier.label_table` gives it.

    ``bundle``: ``auto`` takes the first shipped one of the ``view`` whose features the table has, as `etcc-edge infer`
    does; ``view``: ``inside`` a tunnel, which is assumed, or on the ``wire``. Options as `Classifier` and
    `Classifier.label_table` take them. For many tables, make one Classifier and use its method.
    """
    from etcc_edge.bundle.fit import pick_bundle
    from etcc_edge.infer.classifier import Classifier
    from etcc_edge.infer.table import label_table

    def classifier_of(flows: Any) -> Classifier:
        if isinstance(bundle, (str, os.PathLike)):
            return Classifier(pick_bundle(flows, os.fspath(bundle), view)[0], **options)
        return Classifier(bundle, **options)

    return label_table(table, classifier_of, known=known)


def read_capture(
    path: str | os.PathLike[str],
    features: Sequence[str] | None = None,
    *,
    profile: str | None = None,
    timeout: float | None = None,
) -> Iterator[CaptureBatch]:
    """The flows of a capture (pcap or pcapng, also in gzip or zip; ``-`` is standard input), in order of their ends, in
    batches: ``batch.features``, float32 [n, f] in canonical units, of the ``features`` named, by default all in
    ``batch.names``; ``batch.column("community_id")`` and the other ``batch.columns`` as text [n].

    ``profile`` and ``timeout``, in seconds, say how packets become flows, by default as in CICDarknet2020. Raises
    FlowsError, for a damaged capture after its last batch.
    """
    from etcc_edge.meter import CaptureSource

    with CaptureSource(path, profile, timeout=timeout) as source:
        yield from source.batches(list(source.reading.columns) if features is None else features)
        source.raise_problem()


def __getattr__(name: str) -> Any:
    # numpy is loaded only by those who ask for a class, so the command's help stays quick.
    if name == "Classifier":
        from etcc_edge.infer.classifier import Classifier

        return Classifier
    if name == "Result":
        from etcc_edge.engines.result import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
