"""The public face: one answer for arrays, columns and files, here, in a copy, in a child and in a thread."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import etcc_edge
from etcc_edge import BackendError, BundleError, Classifier, FlowsError
from etcc_edge.bundle import Bundle, save_bundle
from etcc_edge.bundle.model import ConfidenceMap
from etcc_edge.flows.text.reader import OK
from making import assert_same, raw_flows

HEADER = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat,protocol"


@pytest.fixture
def classifier(tiny_bundle: Bundle) -> Classifier:
    return Classifier(tiny_bundle, batch_size=64, threads=2)


# --- predict ------------------------------------------------------------------------------------------------


def test_an_array_and_its_columns_in_any_order_get_the_same_labels(classifier: Classifier) -> None:
    raw = raw_flows(200)
    columns = {name: raw[:, i] for i, name in reversed(list(enumerate(classifier.features)))}
    of_array = classifier.predict(raw)
    assert_same(classifier.predict({"dst_port": ["not", "needed"], **columns}), of_array)
    assert_same(classifier.predict({name: column.tolist() for name, column in columns.items()}), of_array)
    assert_same(classifier.predict(raw.astype(np.float64)), of_array)
    assert_same(classifier.predict(raw.tolist()), of_array)
    assert len(of_array) == 200
    assert set(of_array.labels("protocol")) <= {"Non-VPN", "Tor", "VPN"}


def test_missing_columns_are_named(classifier: Classifier) -> None:
    columns = {name: [1.0] for name in classifier.features[2:]}
    with pytest.raises(FlowsError, match=r"the columns lack flow_duration, flow_bytes_per_s$"):
        classifier.predict(columns)


def test_columns_of_several_lengths_are_refused(classifier: Classifier) -> None:
    columns = {name: [1.0] * (1 + i % 2) for i, name in enumerate(classifier.features)}
    with pytest.raises(ValueError, match="shape"):
        classifier.predict(columns)


@pytest.mark.parametrize("shape", [(6,), (3, 5), (3, 7)])
def test_another_shape_is_refused(classifier: Classifier, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features must be \[n, 6\]"):
        classifier.predict(np.zeros(shape))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39, -1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_a_finite_float32_is_no_value(classifier: Classifier, value: float, dtype: type) -> None:
    missing, other = raw_flows(200).astype(dtype), raw_flows(200).astype(dtype)
    missing[::3, 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(over="ignore"):
            other[::3, 1] = value
        of_other = classifier.predict(other)
    of_missing = classifier.predict(missing)
    assert_same(of_other, of_missing)
    assert (of_missing.codes[0] >= 0).all()


def test_no_flows_are_no_labels(classifier: Classifier) -> None:
    assert len(classifier.predict(np.zeros((0, 6)))) == 0
    assert len(classifier.predict({name: [] for name in classifier.features})) == 0


def test_what_is_given_is_not_changed(classifier: Classifier) -> None:
    raw = raw_flows(200)
    raw[0] = np.inf
    before = raw.copy()
    classifier.predict(raw)
    np.testing.assert_array_equal(raw, before)


def test_a_flow_beyond_the_trained_range_is_no_surer_than_a_coin(classifier: Classifier) -> None:
    raw = np.random.default_rng(5).uniform(0, 1000, (200, 6)).astype(np.float32)
    before = classifier.predict(raw)
    assert not before.outside.any()
    assert (before.confidence[0] > 0.5).any()
    far = raw.copy()
    far[::2, 3] = 1000  # the end of the range
    far[::2, 3] += 1e-3 * far[::2, 3]
    result = classifier.predict(far)
    assert result.outside.tolist() == [True, False] * 100
    assert np.nanmax(result.confidence[:, ::2]) == 0.5
    np.testing.assert_array_equal(result.confidence[:, 1::2], before.confidence[:, 1::2])
    assert (result.codes[0] >= 0).all()


# --- classify -----------------------------------------------------------------------------------------------


@pytest.fixture
def flows_file(tmp_path: Path) -> Path:
    """ISCX's form: four good rows, one of them with gaps, and three that cannot be read."""
    rows = [
        "600000,900,200,100,700,10,VPN",
        "500000,100,900,300,400,20,Tor",
        "600000,900,200",
        "",
        "600000,900,200,many,700,10,VPN",
        "500000,100,900,300,400,20,Tor,VPN",
        "500000,,NaN,Infinity,400,20,Tor",
        "400000,800,300,200,600,10,VPN",
    ]
    path = tmp_path / "flows.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def test_a_files_rows_are_labelled_in_order_and_what_cannot_be_read_is_not(
    classifier: Classifier, flows_file: Path
) -> None:
    ((batch, result),) = classifier.classify(flows_file)
    assert (batch.status == OK).tolist() == [True, True, False, False, False, True, True]
    assert (result.codes[0] >= 0).tolist() == (batch.status == OK).tolist()
    assert (result.labels("protocol") != "").tolist() == (batch.status == OK).tolist()
    unread = batch.status != OK
    assert (result.codes[:, unread] == -1).all()
    assert np.isnan(result.confidence[:, unread]).all()


def test_a_file_and_its_values_get_the_same_labels(classifier: Classifier, flows_file: Path) -> None:
    ((batch, of_file),) = classifier.classify(str(flows_file))
    of_values = classifier.predict(
        [
            [600000, 900, 200, 100, 700, 10],
            [500000, 100, 900, 300, 400, 20],
            [500000, np.nan, np.nan, np.nan, 400, 20],
            [400000, 800, 300, 200, 600, 10],
        ]
    )
    read = batch.status == OK
    np.testing.assert_array_equal(of_file.codes[:, read], of_values.codes)
    np.testing.assert_array_equal(of_file.confidence[:, read], of_values.confidence)


def test_a_file_without_the_features_is_refused(classifier: Classifier, flows_file: Path) -> None:
    flows_file.write_text(flows_file.read_text().replace("min_flowiat", "min_other"))
    with pytest.raises(FlowsError, match=r"flows.csv:1: lacks flow_iat_min"):
        next(classifier.classify(flows_file))


# --- bundles and backends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tiny", "tiny.zip"])
def test_load_takes_a_path_and_options(tiny_bundle: Bundle, tmp_path: Path, form: str) -> None:
    save_bundle(tiny_bundle, tmp_path / form)
    loaded = etcc_edge.load(tmp_path / form, threads=1, batch_size=7)
    assert isinstance(loaded, Classifier)
    assert (loaded.threads, loaded.batch_size) == (1, 7)
    assert loaded.features == tiny_bundle.features
    assert_same(loaded.predict(raw_flows(200)), Classifier(tiny_bundle).predict(raw_flows(200)))


def test_what_cannot_be_used_is_said_at_once(tiny_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="no bundle 'nowhere'"):
        etcc_edge.load("nowhere")
    with pytest.raises(BackendError, match="no backend 'tpu'"):
        etcc_edge.load(tiny_bundle, backend="tpu")
    with pytest.raises(BackendError, match="int4"):
        etcc_edge.load(tiny_bundle, precision="int4")


def test_the_choice_of_backend_is_told(classifier: Classifier) -> None:
    assert classifier.choice.precision == "fp32"
    assert classifier.choice.reason


# --- copies, children, threads ------------------------------------------------------------------------------


@pytest.mark.parametrize("ran", [False, True])
def test_a_pickled_classifier_gives_the_same_answers(classifier: Classifier, ran: bool) -> None:
    expected = Classifier(classifier.bundle).predict(raw_flows(200))
    if ran:
        classifier.predict(raw_flows(1))
    copy = pickle.loads(pickle.dumps(classifier))
    assert_same(copy.predict(raw_flows(200)), expected)
    assert_same(classifier.predict(raw_flows(200)), expected)


def _label_into(queue: multiprocessing.SimpleQueue, classifier: Classifier) -> None:
    queue.put(classifier.predict(raw_flows(200)).codes.tolist())


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("ran", [False, True])
def test_a_forked_child_gives_the_same_answers(classifier: Classifier, ran: bool) -> None:
    if ran:
        classifier.predict(raw_flows(200))
    forked = multiprocessing.get_context("fork")
    queue = forked.SimpleQueue()
    child = forked.Process(target=_label_into, args=(queue, classifier))
    child.start()
    child.join(20)
    if child.is_alive():
        child.kill()
        pytest.fail("the child hangs")
    assert child.exitcode == 0
    assert queue.get() == classifier.predict(raw_flows(200)).codes.tolist()


def test_threads_may_share_a_classifier_from_its_first_flow_on(tiny_bundle: Bundle) -> None:
    expected = Classifier(tiny_bundle, threads=1).predict(raw_flows(200))
    shared = Classifier(tiny_bundle, batch_size=16, threads=2)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: shared.predict(raw_flows(200)), range(24)):
            assert_same(result, expected)


def test_engines_are_opened_at_the_first_flow(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tiny_bundle, tmp_path / "tiny")
    script = (
        "import sys, numpy, etcc_edge\n"
        f"classifier = etcc_edge.load({str(tmp_path / 'tiny')!r}, backend='onnxruntime')\n"
        "before = 'onnxruntime' in sys.modules\n"
        "classifier.predict(numpy.zeros((1, 6)))\n"
        "print(before, 'onnxruntime' in sys.modules)"
    )
    # From another folder: `-c` puts the current one, which may be the source, before the installed package.
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd="/")
    assert run.stdout.split() == ["False", "True"]


def test_applications_that_are_less_sure_than_the_bundle_asks_for_are_given_on_request(tiny_bundle: Bundle) -> None:
    fitted = ConfidenceMap((), np.array([[[1, 0]], [[1, 0]]], np.float32), 0.35)
    bundle = replace(tiny_bundle, confidence=fitted)
    raw = raw_flows(200)
    guesses = Classifier(bundle, min_confidence=0).predict(raw)
    np.testing.assert_array_equal(guesses.codes, Classifier(tiny_bundle).predict(raw).codes)
    given = Classifier(bundle).predict(raw)
    sure = guesses.confidence.prod(axis=0) >= 0.35
    assert 0 < sure.sum() < 200
    np.testing.assert_array_equal(given.codes[1] >= 0, sure)
    np.testing.assert_array_equal(given.codes[0], guesses.codes[0])
