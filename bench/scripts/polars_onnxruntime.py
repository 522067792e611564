"""Labels flows the tuned way: polars parses the needed columns alone, as float32, and passes each row on as one text;
numpy and ONNX Runtime label blocks in several threads, on one-thread sessions. From Parquet to Parquet, columns pass as
they are. A baseline.

python polars_onnxruntime.py FLOWS OUT [--bundle NAME] [--threads N]      (CICDarknet2020's columns)
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from etcc_edge.bundle import Bundle, Node, Scaler, load_bundle
from etcc_edge.engines.cascade import answer
from etcc_edge.engines.onnxruntime import silent_library
from etcc_edge.engines.result import Result
from etcc_edge.flows.features import dialect_named

ort = silent_library()
F32 = npt.NDArray[np.float32]
BLOCK = 2048  # flows scaled at once
BATCH = 128  # flows a network call


def scale(scaler: Scaler, raw: F32) -> F32:
    """Scaled inputs of columns [features, n]."""
    out = np.empty((raw.shape[1], scaler.inputs), np.float32)
    for i in range(scaler.inputs):
        value = scaler.value(i, raw)
        knots = slice(scaler.starts[i], scaler.starts[i + 1])
        out[:, i] = np.interp(value, scaler.x[knots], scaler.y[knots])
        missing = np.isnan(value)
        if missing.any():
            out[missing, i] = scaler.missing[i]
    return out


class Network:
    def __init__(self, bundle: Bundle, node: Node) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.node = node
        self.session = ort.InferenceSession(bundle.onnx[node.id, "fp32"], options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def label(self, raw: F32) -> tuple[npt.NDArray[np.int64], F32]:
        """Label codes of columns [features, n], and their confidences."""
        scaled = scale(self.node.scaler, raw)
        parts = [self.session.run(None, {self.input: scaled[i : i + BATCH]})[0] for i in range(0, len(scaled), BATCH)]
        logits = np.concatenate(parts) / np.float32(self.node.temperature)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return logits.argmax(axis=1), weights.max(axis=1) / weights.sum(axis=1)


class Networks:
    """The networks of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.root = Network(bundle, bundle.root)
        self.below = {
            bundle.root.labels.index(name): Network(bundle, child) for name, child in bundle.root.children.items()
        }
        applications = bundle.vocabulary()[1]
        self.places = {
            code: np.array([applications.index(name) for name in network.node.labels])
            for code, network in self.below.items()
        }

    def run(self, raw: F32) -> Result:
        result = Result.empty(self.bundle.levels, self.bundle.vocabulary(), len(raw))
        result.codes[1], result.confidence[1] = -1, np.nan
        columns = raw.T
        result.codes[0], result.confidence[0] = self.root.label(columns)
        for code, network in self.below.items():
            chosen = np.flatnonzero(result.codes[0] == code)
            if len(chosen):
                codes, result.confidence[1, chosen] = network.label(columns[:, chosen])
                result.codes[1, chosen] = self.places[code][codes]
        return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("flows")
    parser.add_argument("out")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["POLARS_MAX_THREADS"] = str(arguments.threads)
    import polars as pl

    bundle = load_bundle(arguments.bundle)
    names = dialect_named("cicdarknet2020").columns
    of_parquet = arguments.flows.endswith(".parquet")
    header = (pl.scan_parquet if of_parquet else pl.scan_csv)(arguments.flows).collect_schema().names()
    by_key = {column.lower(): column for column in header}
    columns = [by_key[names[feature][0]] for feature in bundle.features]
    if of_parquet:
        rows = pl.read_parquet(arguments.flows)
        table = rows.select(pl.col(columns).cast(pl.Float32))
    else:
        types = dict.fromkeys(columns, pl.Float32)
        table = pl.scan_csv(arguments.flows, schema_overrides=types).select(columns).collect(engine="streaming")
        rows = pl.read_csv(
            arguments.flows, separator="\x01", quote_char=None, infer_schema=False, truncate_ragged_lines=True
        )
    raw = table.to_numpy()
    networks = Networks(bundle)
    applications = bundle.vocabulary()[1]
    n = len(raw)
    codes, confidence = np.empty((2, n), np.int64), np.empty((2, n), np.float32)

    def label(start: int) -> None:
        part = slice(start, min(start + BLOCK, n))
        block = np.ascontiguousarray(np.where(np.isfinite(raw[part]), raw[part], np.float32(np.nan)))
        # Names of services and confidences by the package's own numpy.
        result = answer(bundle, networks, block).at_least(bundle.least_confidence)
        codes[:, part], confidence[:, part] = result.codes, result.confidence

    with ThreadPoolExecutor(arguments.threads) as pool:
        list(pool.map(label, range(0, n, BLOCK)))

    labelled = rows.with_columns(
        pl.Series("etcc_protocol", bundle.root.labels).gather(codes[0]),
        pl.Series("etcc_protocol_confidence", confidence[0]),
        pl.Series("etcc_application", [*applications, ""]).gather(codes[1] % (len(applications) + 1)),
        pl.Series("etcc_application_confidence", confidence[1], nan_to_null=True),
    )
    if of_parquet:
        labelled.write_parquet(arguments.out)
    else:
        labelled.write_csv(arguments.out, quote_style="never", float_precision=4)


if __name__ == "__main__":
    main()
