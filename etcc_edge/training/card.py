"""Model cards: what a bundle is, in words for its users."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from etcc_edge.bundle.model import Bundle
from etcc_edge.evaluation.result import Evaluation, Score, WindowScore, from_json
from etcc_edge.evaluation.tables import PART_HEADS, part_rows, windows_text, with_interval
from etcc_edge.flows.services import BACKGROUND
from etcc_edge.reports.numbers import percent
from etcc_edge.training.unknown import FALSE_REJECTION

_percent = partial(percent, sign=" %", none="none")
_VIEWS = {
    "inside": "its VPN flows were captured inside the tunnel's interface: VPN means seen inside, and tunnels seen from "
    "outside are not recognised",
    "wire": "its tunnels were seen from outside: VPN means a tunnel, and flows inside one are not recognised; how many "
    "of products, networks and captures never seen are found is in docs/laboratory.md",
}


def model_card(bundle: Bundle) -> str:
    """Markdown from a bundle's own record; nothing in it is written by hand."""
    training, test = bundle.training, from_json(bundle.metrics["test"])
    split, end = training["split"], test.end_to_end
    aside = ", ports aside" if {"src_port", "dst_port"} & set(bundle.features) else ""
    but = ""
    if split.get("cross_fit"):
        but = " (but that networks learnt from some of them whose answers on still other sessions fit the confidences)"
    flatters = "" if split["kind"] == "session" else ", so a random split flatters"
    sections = [
        f"# {bundle.name}",
        f"Names the protocol ({', '.join(bundle.root.labels)}) of a flow, then its application, from "
        f"{len(bundle.features)} features. Trained on `{training['file']}` ({training['flows']} labelled flows, "
        f"{bundle.flow_definition.meter}, {bundle.flow_definition.timeout_s:g} s flow timeout) with the recipe "
        f"`{training['recipe']}` ({training['network']}) by this command:",
        f"```\n{training['command']}\n```",
        f"PyTorch {training['torch']}, seed {split['seed']}; "
        f"fingerprint of the flows `{training['fingerprint'][:16]}`, of the test rows "
        f"`{split['test_fingerprint'][:16]}`.",
        *_adapted(training),
        "## What it scored",
        f"On {split['test']} test flows of a {split['kind']} split "
        f"({_percent(split['test'] / training['flows'])} of all flows), which were used for no choice{but}. "
        f"{_sessions(training)}{_chosen_on(training)} "
        f"{_percent(training['repeated_share'])} of the flows have the features of another flow too{aside}{flatters}. "
        f"{test.protocol.flows} of the test flows have a protocol that the bundle knows.",
        _scores(test),
        "Precision, recall and F1 are means over the labels. Applications are scored given the true protocol. End to "
        f"end, both labels are right for {_percent(end.accuracy)} of the {end.flows} flows whose two labels the bundle "
        f"knows ({_percent(end.protocol_accuracy)} of them have the right protocol), and for "
        f"{_percent(end.strict_accuracy)} of all.",
        *_parts(bundle, test),
        *(_confusion(title, score) for title, score in _by_network(test).items()),
        *_unknown(bundle),
        "## What it cannot do",
        "\n".join(f"- {line}" for line in _limits(bundle)),
        "## Networks",
        _networks(bundle),
        "## Features",
        ", ".join(f"{name} ({unit})" for name, unit in zip(bundle.features, bundle.units, strict=True)),
        *_derived(bundle),
        "## Data and licence",
        f"Licence of the weights: {bundle.license}. If you use this bundle or its flows, cite:",
        "\n".join(f"- {text}" for text in bundle.citations),
    ]
    return "\n\n".join(sections) + "\n"


def _derived(bundle: Bundle) -> list[str]:
    names = bundle.features
    pairs = dict.fromkeys(pair for node in bundle.nodes() for pair in node.scaler.derived())
    texts = [f"{names[first]} {operation} {names[second]}" for first, operation, second in pairs]
    return [f"Derived inputs: {', '.join(texts)}"] if texts else []


def _adapted(training: Mapping[str, Any]) -> list[str]:
    if "adapted_from" not in training:
        return []
    old = training["adapted_from"]
    return [
        f"It is the bundle {old['name']} (`{old['digest'][:16]}`), which has learnt these flows. That one was trained "
        f"on `{old['file']}` by this command:",
        f"```\n{old['command']}\n```",
        f"Before, both labels were right for {_percent(old['before']['strict_accuracy'])} of the test flows. Of flows "
        f"like those that {old['name']} was trained on, {_percent(old['kept'])} have the same labels as before.",
        *(f"{line}, so the figures before and after flatter." for line in known_before(training)),
    ]


def known_before(training: Mapping[str, Any]) -> list[str]:
    """From an adapted bundle's record, a clause on the test flows that the old bundle was trained on, or on that it
    does not say so."""
    old, tested = training["adapted_from"], training["split"]["test"]
    seen = old.get("seen")
    if seen is None:
        return [f"Bundle {old['name']} does not say in a form of this version which flows it was trained on"]
    if not seen["flows"]:
        return []
    if seen["by_identity"]:
        return [f"{seen['flows']} of the {tested} flows kept out were in {old['name']}'s training"]
    return [
        f"{seen['flows']} of the {tested} flows kept out have the features of flows in {old['name']}'s training, and "
        "may be those"
    ]


def _sessions(training: Mapping[str, Any]) -> str:
    split = training["split"]
    if split["kind"] != "session":
        return ""
    return (
        f"There are {training['sessions']} sessions: captures that met the same traffic at the same time. None lies "
        f"on two sides, and {split['dropped']} flows were dropped whose Flow ID occurs in a session that tests or "
        "chooses. "
    )


def _parts(bundle: Bundle, test: Evaluation) -> list[str]:
    """How far the labels go: for flows of services, by size, and where the less sure stay empty."""
    texts = []
    cross_fit = bundle.training["split"].get("cross_fit", False)
    if test.parts:
        texts += ["Both labels, by part of the flows, in %:", _table(["", *PART_HEADS], part_rows([test]))]
    if test.windows:
        texts.append(f"{_windows(test.windows)} So does `etcc-edge infer --sum-by host,5min`.")
    if bundle.services:
        texts.append(
            "Flows of background services get the service's name as application by rule, told by their IP protocol and "
            f"ports, not by a network: {', '.join(service.name for service in bundle.services)}. The networks of "
            "applications learnt from the others, the foreground. The protocol is always a network's guess."
        )
    if bundle.services and BACKGROUND in bundle.vocabulary()[-1]:
        texts.append(f"Without ports, flows of all other services are one application, {BACKGROUND}, which is a guess.")
    if _keeps_confidences(bundle.training):
        old = bundle.training["adapted_from"]["name"]
        texts.append(
            f"Confidences are mapped as in {old}, by the number of packets: that map was fitted when {old} was made, "
            f"and not anew. {_stay_empty(bundle)}"
        )
    elif bundle.confidence:
        on = "all other sessions, each left out of a training of its own" if cross_fit else "those that validate"
        texts.append(f"Confidences were fitted on sessions, {on}, by the number of packets. {_stay_empty(bundle)}")
    if figures := bundle.training.get("left_out_sessions"):
        texts.append(_left_out(figures))
    return texts


def _left_out(figures: Mapping[str, Any]) -> str:
    protocol, both = (
        f"{with_interval(figures[level], figures[f'{level}_interval'])} %" for level in ("protocol", "both")
    )
    given = "none"
    if figures["right_of_given"] is not None:
        right = _percent(figures["right_of_given"])
        given = f"{_percent(figures['given'])} of the applications, of which {right} are right"
        if figures["given_bytes"] is not None:
            given += (
                f"; by bytes {_percent(figures['given_bytes'])}, of which {_percent(figures['right_of_given_bytes'])}"
            )
    windows = f" {_windows(WindowScore(**figures['windows']))}" if figures["windows"] else ""
    return (
        f"On {figures['flows']} foreground flows of these {figures['sessions']} sessions, with confidences fitted for "
        f"each fifth of the sessions on the others, the protocol is right for {protocol}, both labels for {both}. The "
        f"confidence of both is {_percent(figures['confidence'])} in the mean, its calibration error "
        f"{_percent(figures['calibration_error'])}. Given are {given}.{windows}"
    )


def _keeps_confidences(training: Mapping[str, Any]) -> bool:
    """Whether confidences are mapped as in the bundle that this one was adapted from."""
    keeps: bool = training.get("adapted_from", {}).get("keeps_confidences", False)
    return keeps


def _stay_empty(bundle: Bundle) -> str:
    return (
        f"Applications whose pair of labels is less sure than {bundle.least_confidence:g} stay empty (not given) "
        "unless you ask for them."
    )


def _windows(score: WindowScore) -> str:
    sentence = windows_text(score)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _chosen_on(training: Mapping[str, Any]) -> str:
    split = training["split"]
    if not split["validation"]:
        return "No others were set aside for that."
    fitted = "temperatures" if _keeps_confidences(training) else "confidences"
    return f"{split['validation']} others ({split['validation_kind']}) served to fit {fitted} and the threshold."


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _by_network(test: Evaluation) -> dict[str, Score]:
    return {"Protocol": test.protocol, **{f"{name} applications": score for name, score in test.stage2.items()}}


def _scores(test: Evaluation) -> str:
    head = ["", "flows", "accuracy (95 %)", "precision", "recall", "f1", "calibration error"]
    rows = [
        [
            title,
            str(score.flows),
            _accuracy(score),
            _percent(score.precision),
            _percent(score.recall),
            _percent(score.f1),
            _percent(score.confidence.calibration_error),
            _percent(score.confidence.accuracy_at_80_coverage),
        ]
        for title, score in _by_network(test).items()
    ]
    return _table([*head, "accuracy without the least confident 20 %"], rows)


def _accuracy(score: Score) -> str:
    limits = score.accuracy_interval
    return _percent(score.accuracy) + (f" ({100 * limits[0]:.2f}–{100 * limits[1]:.2f})" if limits else "")


def _unknown(bundle: Bundle) -> list[str]:
    threshold, test = bundle.root.thresholds.get("fp32"), bundle.metrics["test"]
    if threshold is None:
        return []
    left_out = test.get("leave_one_out", {})
    text = (
        f"A flow whose energy in stage 1 exceeds {threshold:g} is called unknown (`etcc_known` 0). The threshold was "
        f"set to call {_percent(FALSE_REJECTION)} of the validation flows unknown; of the test flows it is "
        f"{_percent(test['known']['false_rejection'])}. Expect that only of flows like these, not of other networks, "
        "meters or years. Features outside the trained range are counted separately."
    )
    if not left_out:
        return ["## Unknown protocols", text]
    rows = [
        [
            protocol,
            str(figures["unknown"]),
            "none" if figures["auroc"] is None else f"{figures['auroc']:.3f}",
            *(_percent(figures[name]) for name in ("fpr_at_95_tpr", "detected", "false_rejection")),
        ]
        for protocol, figures in left_out.items()
    ]
    head = [
        *("left out of training", "test flows of it", "AUROC", "FPR at 95 % TPR", "of them called unknown"),
        "of the others called unknown",
    ]
    return [
        "## Unknown protocols",
        text,
        "Stage 1 trained without one protocol, on the test flows:",
        _table(head, rows),
    ]


def _confusion(title: str, score: Score) -> str:
    rows = [
        [label, *map(str, counts[:-1]), _percent(recall)]
        for label, counts, recall in zip(score.labels, score.confusion, score.recall_by_label, strict=True)
    ]
    return f"{title}: true labels by row, predicted by column.\n\n" + _table(["", *score.labels, "recall"], rows)


def collapses(test: Evaluation) -> list[str]:
    """A clause on each network that gives one label to nearly all test flows."""
    return [
        f"{name}: nearly all flows get {label}, whatever they are, so the network has learnt nothing"
        for name, score in _by_network(test).items()
        if (label := score.collapsed_to) is not None
    ]


def weak(test: Evaluation) -> list[str]:
    """A clause on each network that tells labels apart, and is right less often than its most frequent label is
    true."""
    return [
        f"{name}: {_percent(score.accuracy)} of the test flows are right; always saying {label} would be right for "
        f"{_percent(share)}"
        for name, score in _by_network(test).items()
        if score.most_frequent and not score.collapsed_to
        for label, share in [score.most_frequent]
        if (score.accuracy or 0) < share
    ]


def untested(bundle: Bundle) -> list[str]:
    """A clause on the classes that no test flow has."""
    test = from_json(bundle.metrics["test"])
    absent = [label for label in bundle.root.labels if not test.protocol.support(label)]
    for protocol, child in bundle.root.children.items():
        score = test.stage2.get(protocol)
        absent += [f"{protocol} {label}" for label in child.labels if not (score and score.support(label))]
    single = bundle.training["split"].get("untested", [])
    reasons = {
        "they come from a single session": [name for name in absent if name in single],
        "no test flow has them": [name for name in absent if name not in single],
    }
    return [f"not tested, as {reason}: {', '.join(names)}" for reason, names in reasons.items() if names]


def training_notes(bundle: Bundle) -> list[str]:
    """What became no class, what is not tested, and what was dropped, a line each."""
    dropped = bundle.training["split"]["dropped"]
    return [
        *bundle.training["left_out"],
        *untested(bundle),
        *([f"flows dropped, as their Flow ID occurs in a session that tests or chooses: {dropped}"] if dropped else []),
    ]


def _limits(bundle: Bundle) -> list[str]:
    training = bundle.training
    split = training["split"]
    test = from_json(bundle.metrics["test"])
    limits = [*collapses(test), *weak(test)]
    if view := bundle.flow_definition.view:
        limits.append(_VIEWS[view])
    if split["kind"] != "session":
        limits.append(
            "its test flows come from the same sessions as its training flows; flows of sessions never seen score far "
            "lower"
        )
    limits += [*untested(bundle), *training["left_out"]]
    if training["applications"] == "paper":
        limits.append(
            "it knows the paper's five applications only: VOIP, browsing, P2P and any other application get the "
            "nearest of the five"
        )
    if training["constant_features"]:
        limits.append(f"features left out, as they were constant: {', '.join(training['constant_features'])}")
    limits += [
        "flows of other meters, timeouts, networks or years may differ from its own; `etcc-edge infer` says how many "
        "lie outside the trained range",
        "a protocol or an application that was not in training gets the nearest label, often with high confidence",
    ]
    return limits


def _networks(bundle: Bundle) -> str:
    notes = bundle.training["stages"]
    return _table(
        ["node", "layers", "multiply-adds", "parameters", "ONNX against PyTorch float64"],
        [
            [
                node.id,
                ", ".join(map(str, node.network)),
                str(notes[node.id]["multiply_adds"]),
                str(notes[node.id]["parameters"]),
                f"{notes[node.id]['onnx_difference']:.1e}",
            ]
            for node in bundle.nodes()
        ],
    )
