"""Which backend and precision a bundle runs on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from etcc_edge.bundle.model import Bundle
from etcc_edge.errors import BackendError

from . import measured
from .backends import BACKENDS


@dataclass(frozen=True)
class Choice:
    backend: str
    precision: str
    reason: str


def choose(backend: str = "auto", precision: str = "auto", bundle: Bundle | None = None) -> Choice:
    """The backend and precision to run with, for any bundle or for a given one.

    ``auto`` takes the first backend of `BACKENDS` that this machine has and that can run the bundle. Precision
    ``auto`` is that backend's own (`Backend.auto`), or on a GPU the one that `build-engines` let through. At that
    precision ``auto`` takes the backend that a bench found fastest here with the same labels, if that was saved.
    Raises BackendError for one that is unknown, absent, unable, or does not have the precision.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise BackendError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    found, ignored = measured.read(bundle) if bundle and "auto" in (backend, precision) else (None, "")
    reasons, unable = [], ""
    for name in BACKENDS if backend == "auto" else (backend,):
        gated = found.gated.get(name) if found and precision == "auto" else None
        if gated == "":
            reasons.append(f"{name}: build-engines let none of its precisions through; name one with --precision")
            continue
        wanted = gated or (BACKENDS[name].auto if precision == "auto" else precision)
        if wanted not in BACKENDS[name].precisions:
            reasons.append(f"{name} has no {wanted}, only {', '.join(BACKENDS[name].precisions)}")
        elif why_not := BACKENDS[name].why_not(None, wanted):
            reasons.append(f"{name}: {why_not}")
        elif bundle and (why_not := BACKENDS[name].why_not(bundle, wanted)):
            reasons.append(f"{name}: {why_not}")
            unable += f"; not {name}: {why_not}"
        else:
            at = "" if precision == "auto" else f" at {wanted}"
            if backend != "auto":
                return Choice(name, wanted, f"as asked for; {gated} passed build-engines" if gated else "as asked for")
            usual = Choice(name, wanted, f"the fastest that this machine has{at}{unable}")
            if ignored:
                return replace(usual, reason=f"{usual.reason}; {ignored}, so it is ignored")
            return _recommended(usual, bundle, found) if bundle and found else usual
    raise BackendError("; ".join(reasons) if backend != "auto" else "no backend can run here: " + "; ".join(reasons))


def _recommended(usual: Choice, bundle: Bundle, found: measured.Recommendation) -> Choice:
    """What a bench of this machine and bundle recommends at the usual choice's precision, if it can run."""
    name = found.backends.get(usual.precision)
    if name is None:
        return usual
    if name not in BACKENDS or usual.precision not in BACKENDS[name].precisions:
        return replace(usual, reason=f"{usual.reason}; the bench of {found.made} names {name!r}, which is none")
    if reason := BACKENDS[name].why_not(bundle, usual.precision):
        return replace(usual, reason=f"{usual.reason}; the bench of {found.made} says {name}, but {reason}")
    return replace(usual, backend=name, reason=f"by the bench of {found.made}")
