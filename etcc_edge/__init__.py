"""Names the encryption protocol and the application of encrypted flows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from etcc_edge.errors import BackendError, BundleError, EtccError, FlowsError
from etcc_edge.version import __version__

if TYPE_CHECKING:
    from etcc_edge.bundle import Bundle
    from etcc_edge.engines.result import Result
    from etcc_edge.infer.classifier import Classifier

__all__ = [
    "BackendError",
    "BundleError",
    "Classifier",
    "EtccError",
    "FlowsError",
    "Result",
    "__version__",
    "load",
]


def load(bundle: Bundle | str | os.PathLike[str] = "default", **options: Any) -> Classifier:
    """A `Classifier` for a shipped bundle by name, or for one at a path; options as `Classifier` takes them."""
    from etcc_edge.infer.classifier import Classifier

    return Classifier(bundle, **options)


def __getattr__(name: str) -> Any:
    # numpy is loaded only by those who ask for a class, so the command's help stays quick.
    if name == "Classifier":
        from etcc_edge.infer.classifier import Classifier

        return Classifier
    if name == "Result":
        from etcc_edge.engines.result import Result

        return Result
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
