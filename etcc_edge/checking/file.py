"""Whether a flows file can be labelled or trained on: how it is read, what its values are, what gives labels away."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import numpy as np

from etcc_edge.bundle import Bundle, load_bundle, shipped_bundles
from etcc_edge.bundle.fit import ASSUMED_VIEW, pick_bundle, why_bundle_does_not_fit
from etcc_edge.checking.leakage import LabelCodes, conflicts, repeats
from etcc_edge.checking.result import BundleFit, Check, Leakage, Repeats, RowCounts
from etcc_edge.checking.tally import Tally
from etcc_edge.errors import FlowsError
from etcc_edge.flows.batch import has_enough_values
from etcc_edge.flows.features import header_key
from etcc_edge.flows.identity import IDENTIFIERS
from etcc_edge.flows.unlabelled import reasons_of, why_none
from etcc_edge.infer.source import Opened, open_source
from etcc_edge.meter import CaptureSource

_IDENTIFIERS = frozenset().union(*IDENTIFIERS.values())


def check_file(
    path: str | os.PathLike[str],
    *,
    protocol_column: str | None = None,
    application_column: str | None = None,
    progress: Callable[[int, int | None], None] = lambda *_: None,
) -> Check:
    """The figures of a flows file or capture, read once; memory grows by 16 bytes a row, 28 for a labelled one.

    Raises FlowsError for a file that cannot be read, or lacks a label column that was named.
    """
    with open_source(path) as file:
        labels = _label_columns(file, protocol_column, application_column)
        date = next((i for i, name in enumerate(file.columns) if header_key(name) == "timestamp"), None)
        tally = Tally(file, labels, date if labels else None)
        bundles = _bundles(file)
        fitting = {name: load_bundle(name) for name, fit in bundles.items() if fit.fits}
        places = {name: [tally.names.index(f) for f in bundle.features] for name, bundle in fitting.items()}
        picked = next((name for name, fit in bundles.items() if fit.picked), "")
        labelled = 0  # by the bundle that is picked
        for batch in file.batches(tally.names, tally.texts):
            tally.add(batch)
            for name, bundle in fitting.items():
                raw = np.ascontiguousarray(batch.features[batch.readable][:, places[name]])
                bundles[name].outside_range += int(bundle.root.scaler.outside(raw).sum())
                labelled += int(has_enough_values(raw).sum()) if name == picked else 0
            progress(file.position(), file.size)
        reading = file.reading
        codes = LabelCodes.of(tally) if labels else None
        damage = file.problem if isinstance(file, CaptureSource) else ""
        up_to_damage = damage and f"{damage}; infer labels its flows up to there"
        contradiction = file.contradiction()
        damaged = "" if labelled or contradiction or not picked else _why_none_is_labelled(path, file, fitting[picked])
        return Check(
            file=file.name,
            dialect=reading.dialect.name,
            meter=reading.dialect.meter,
            time_unit=reading.time_unit,
            notes=list(reading.notes),
            columns={name: file.columns[index].strip() for name, index in reading.columns.items()},
            other_columns=[name for i, name in enumerate(file.columns) if i not in reading.columns.values()],
            features_missing=[name for name in reading.dialect.columns if name not in reading.columns],
            bundles=bundles,
            rows=RowCounts(**vars(file.counts), readable=file.counts.rows - file.counts.unlabelled),
            capture=file.summary() if isinstance(file, CaptureSource) else None,
            damage=damage,
            relations=[relation.text for relation in file.relations],
            contradiction=contradiction,
            failure="; ".join(filter(None, (_why_none_is_picked(bundles), contradiction, damaged, up_to_damage))),
            values=tally.values(),
            repeats=Repeats(bytes=repeats(tally.rows), features=repeats(tally.features)),
            label_columns={level: file.columns[index] for level, index in labels.items()},
            labels=codes.counts() if codes else None,
            leakage=_leakage(file, tally, codes, dated=date is not None) if codes else None,
        )


def _why_none_is_labelled(path: str | os.PathLike[str], file: Opened, bundle: Bundle) -> str:
    """Empty where `infer` labels some of the rows, of which none can be read in full: it reads no column that the
    bundle does not need. A pipe is not read again to see that."""
    counts = file.counts
    if os.path.isfile(path) and counts.not_a_number:
        with open_source(path) as again:
            for batch in again.batches(bundle.features):
                if batch.valued.any():
                    return ""
            counts = again.counts
    return why_none(counts.rows, reasons_of(counts, counts.rows - counts.unlabelled))


def _leakage(file: Opened, tally: Tally, codes: LabelCodes, dated: bool) -> Leakage:
    return Leakage(
        identifiers=[name for name in file.columns if header_key(name) in _IDENTIFIERS],
        absolute_times=tally.absolute_times(),
        conflicts={level: conflicts(codes.features, labels) for level, labels in codes.levels.items()},
        date=codes.by_day() if dated else None,
    )


def _label_columns(file: Opened, protocol: str | None, application: str | None) -> dict[str, int]:
    """Level to column: the named ones, and the dialect's usual ones where the file has them."""
    dialect = file.reading.dialect
    columns: dict[str, int] = {}
    levels = {"protocol": (protocol, dialect.protocol_label), "application": (application, dialect.application_label)}
    for level, (given, usual) in levels.items():
        if given or (usual and header_key(usual) in map(header_key, file.columns)):
            columns[level] = file.column_index(given or usual)
    if len(set(columns.values())) < len(columns):
        raise FlowsError(f"{file.name}: both labels are said to be in one column; name one, or two different ones")
    return columns


def _bundles(file: Opened) -> dict[str, BundleFit]:
    """Which shipped bundles fit a file, which of them `infer` takes, and why not the others."""
    try:
        picked = pick_bundle(file, "auto")[0].name
    except FlowsError:
        picked = ""
    fits = {}
    for name, path in shipped_bundles().items():
        bundle = load_bundle(path)
        why_not = why_bundle_does_not_fit(bundle, file)
        definition = bundle.flow_definition
        fits[name] = BundleFit(not why_not, name == picked, definition.view, definition.timeout_s, 0, why_not)
    return fits


def _why_none_is_picked(bundles: Mapping[str, BundleFit]) -> str:
    if any(bundle.picked for bundle in bundles.values()):
        return ""
    reasons = "; ".join(f"{name} {fit.why_not}" for name, fit in bundles.items() if not fit.fits)
    return f"no shipped bundle of view {ASSUMED_VIEW}, which infer assumes, fits it: {reasons}"
