"""Which backend and precision a bundle runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from etcc_edge.bundle.model import Bundle
from etcc_edge.bundle.precision import Precision
from etcc_edge.errors import BackendError

from . import measured
from .backends import BACKENDS


@dataclass(frozen=True)
class Choice:
    """A key of `BACKENDS`, one of its precisions, and a clause on why these."""

    backend: str
    precision: Precision
    reason: str


@dataclass(frozen=True)
class _Refusal:
    """Why a backend is not taken. ``unable``: the bundle's own reason, where the machine has the backend."""

    backend: str
    clause: str
    unable: str = ""


def choose(backend: str = "auto", precision: str = "auto", bundle: Bundle | None = None) -> Choice:
    """The backend and precision to run with, for any bundle or for a given one.

    ``auto`` takes the first backend of `BACKENDS` that this machine has and that can run the bundle. Precision
    ``auto`` is that backend's own (`Backend.auto`), or on a GPU the one that `build-engines` let through. At that
    precision ``auto`` takes the backend that a bench found fastest here with the same labels, if that was saved.
    Raises BackendError for one that is unknown, absent, unable, or does not have the precision.
    """
    if backend != "auto" and backend not in BACKENDS:
        raise BackendError(f"no backend {backend!r}; there are {', '.join(BACKENDS)}")
    saved, ignored = measured.read(bundle) if bundle and "auto" in (backend, precision) else (None, "")
    gated = saved.gated if saved and precision == "auto" else {}
    refusals: list[_Refusal] = []
    for name in BACKENDS if backend == "auto" else (backend,):
        ability = _ability(name, precision, gated.get(name), bundle)
        if isinstance(ability, _Refusal):
            refusals.append(ability)
        elif backend != "auto":
            passed = f"; {gated[name]} passed build-engines" if name in gated else ""
            return Choice(name, ability, f"as asked for{passed}")
        else:
            first = Choice(name, ability, _why_first(precision, refusals))
            if ignored:
                return replace(first, reason=f"{first.reason}; {ignored}, so it is ignored")
            return _recommended(first, bundle, saved) if bundle and saved else first
    clauses = "; ".join(refusal.clause for refusal in refusals)
    raise BackendError(clauses if backend != "auto" else f"no backend can run here: {clauses}")


def _ability(name: str, asked: str, gated: str | None, bundle: Bundle | None) -> Precision | _Refusal:
    """The precision that a backend runs at, or why it cannot. ``gated``: the one that passed `build-engines` there,
    empty where none did, None where it was not gated."""
    backend = BACKENDS[name]
    if gated == "":
        return _Refusal(name, f"{name}: build-engines let none of its precisions through; name one with --precision")
    wanted = (gated or backend.auto) if asked == "auto" else asked
    precision = next((known for known in backend.precisions if known == wanted), None)
    if precision is None:
        return _Refusal(name, f"{name} has no {wanted}, only {', '.join(backend.precisions)}")
    if absent := backend.why_not(None, precision):
        return _Refusal(name, f"{name}: {absent}")
    if bundle and (unable := backend.why_not(bundle, precision)):
        return _Refusal(name, f"{name}: {unable}", unable)
    return precision


def _why_first(asked: str, refusals: Sequence[_Refusal]) -> str:
    """Why the first backend that can run is taken, after those that cannot."""
    at = "" if asked == "auto" else f" at {asked}"
    unable = [f"not {refusal.backend}: {refusal.unable}" for refusal in refusals if refusal.unable]
    return "; ".join([f"the fastest that this machine has{at}", *unable])


def _recommended(first: Choice, bundle: Bundle, saved: measured.Recommendation) -> Choice:
    """What a bench of this machine and bundle recommends at the first choice's precision, if it can run."""
    name = saved.backends.get(first.precision)
    if name is None:
        return first
    if name not in BACKENDS or first.precision not in BACKENDS[name].precisions:
        return replace(first, reason=f"{first.reason}; the bench of {saved.made} names {name!r}, which is none")
    if reason := BACKENDS[name].why_not(bundle, first.precision):
        return replace(first, reason=f"{first.reason}; the bench of {saved.made} says {name}, but {reason}")
    return replace(first, backend=name, reason=f"by the bench of {saved.made}")
