"""How often an early label is the final one: ``python -m etcc_edge.bench.studies.early CAPTURES…``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import click

from etcc_edge.bundle import load_bundle
from etcc_edge.errors import FlowsError
from etcc_edge.infer.classifier import Classifier
from etcc_edge.infer.source import follow
from etcc_edge.meter import CaptureSource
from etcc_edge.meter.source import After

MOMENTS = (*(After(packets=packets) for packets in (5, 10, 20)), *(After(seconds=seconds) for seconds in (1, 5, 15)))


@dataclass
class Agreement:
    """Of flows that were looked at early. ``grown`` went on after that: of the others, the early row is the final one,
    and agrees by itself. The rest are the grown flows whose early protocol, or both labels, are the final ones."""

    looked_at: int = 0
    grown: int = 0
    same_protocol: int = 0
    same_labels: int = 0

    def count(self, captures: Sequence[str], classifier: Classifier, after: After) -> None:
        """Adds the flows of captures; what can be read of damaged ones."""
        for path in captures:
            try:
                with CaptureSource(path, after=after) as source:
                    follow(source, classifier.bundle)
                    self._count(source, classifier)
            except FlowsError as error:
                print(error, file=sys.stderr)  # it is no capture, or damaged at its begin

    def _count(self, source: CaptureSource, classifier: Classifier) -> None:
        early = {}
        for batch in source.batches(classifier.features):
            result = classifier.label(batch)
            labels = zip(result.labels("protocol").tolist(), result.labels("application").tolist(), strict=True)
            flows = zip(batch.column("flow_id"), batch.column("start"), strict=True)
            packets = zip(batch.column("fwd_packets"), batch.column("bwd_packets"), strict=True)
            for flow, size, pair, verdict in zip(flows, packets, labels, batch.column("verdict"), strict=True):
                if verdict == "early":
                    early[flow] = (size, pair)
                elif flow in early:
                    early_size, early_pair = early.pop(flow)
                    self.looked_at += 1
                    if size != early_size:
                        self.grown += 1
                        self.same_protocol += pair[0] == early_pair[0]
                        self.same_labels += pair == early_pair


@click.command()
@click.argument("captures", nargs=-1, required=True)
@click.option("--bundle", default="default", show_default=True)
def main(captures: tuple[str, ...], bundle: str) -> None:
    """Prints a table in Markdown: at each moment, the flows, and the shares of early labels that are the final ones."""
    classifier = Classifier(load_bundle(bundle), backend="native", precision="fp32")
    print("| early row after | flows with one | that went on | same protocol | same two labels |")
    print("|---|---:|---:|---:|---:|")
    for after in MOMENTS:
        agreement = Agreement()
        agreement.count(captures, classifier, after)
        moment = f"{after.packets} packets" if after.packets else f"{after.seconds:g} s"
        shares = (agreement.same_protocol, agreement.same_labels)
        percents = " | ".join(f"{100 * part / max(1, agreement.grown):.1f} %" for part in shares)
        print(f"| {moment} | {agreement.looked_at} | {agreement.grown} | {percents} |")


if __name__ == "__main__":
    main()
