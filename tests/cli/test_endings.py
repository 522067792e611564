"""How a command ends where its streams, its memory or its start fail: nothing asked for is lost, and nothing is a
traceback."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from captures import exchange, pcap

from etcc_edge.cli.terminal import as_typed

NAMES = "duration,flowBytesPerSecond,flowPktsPerSecond,mean_flowiat,max_flowiat,min_flowiat\n"
SCRIPTS = Path(sysconfig.get_path("scripts"))

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(bundle: str, tmp_path: Path) -> Shell:
    """Runs a line of bash, where $infer is the command, in a folder with a.csv and b.csv. The first command of a
    pipeline that fails gives the exit status."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(NAMES + "".join(f"{i}000,{i},7,9,9,9\n" for i in range(1, 2001)))

    def run(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {
            **os.environ,
            "etcc": str(SCRIPTS / "etcc-edge"),
            "infer": f"{SCRIPTS / 'etcc-edge'} infer --bundle {bundle}",
            **environment,
        }
        words = ["bash", "-o", "pipefail", "-c", line]
        taken = {"capture_output": True, "encoding": "utf-8", "errors": "backslashreplace"}
        return subprocess.run(words, cwd=tmp_path, env=variables, timeout=60, **taken)

    return run


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


# --- streams that are closed, full or left --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", "2> >(exit)", "<&-"])
def test_labels_are_written_to_the_end_whatever_becomes_of_standard_error_and_input(shell, tmp_path, how):
    done = shell(f"$infer a.csv b.csv {how}")
    assert (done.returncode, lines(tmp_path / "a.labels.csv"), lines(tmp_path / "b.labels.csv")) == (0, 2001, 2001)
    assert "b.csv → b.labels.csv" in done.stdout
    done = shell(f"$infer a.csv -o - {how}")
    assert (done.returncode, done.stdout.count("\n")) == (0, 2001)


@pytest.mark.parametrize("how", [">/dev/full", ">&-", "| true", ">&- 2>&- <&-", "--json >/dev/full"])
def test_a_table_that_is_lost_costs_no_labels_and_exits_1(shell, tmp_path, how):
    done = shell(f"$infer a.csv b.csv {how}")
    assert (done.returncode, lines(tmp_path / "a.labels.csv"), lines(tmp_path / "b.labels.csv")) == (1, 2001, 2001)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    if "2>&-" not in how:
        assert done.stderr.count("Error: standard output: cannot be written: ") == 1


@pytest.mark.parametrize("how", [">/dev/full", ">&-"])
def test_labels_that_standard_output_does_not_take_are_an_error_of_one_line(shell, how):
    done = shell(f"$infer a.csv -o - {how}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: standard output: cannot be written: ")
    assert "Exception" not in done.stderr


def test_a_reader_of_the_labels_that_has_enough_is_no_error(shell):
    done = shell("$infer a.csv -o - 2>err | head -1")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def test_a_lost_reader_of_one_inputs_labels_does_not_stop_the_others(shell, tmp_path):
    done = shell("$infer - a.csv < b.csv | true")
    assert (done.returncode, lines(tmp_path / "a.labels.csv")) == (1, 2001)


def test_closed_standard_input_is_an_error_of_one_line(shell):
    done = shell("$infer - -o - <&-")
    assert (done.returncode, done.stderr) == (1, "Error: standard input: cannot be read: Bad file descriptor\n")


def test_an_error_that_cannot_be_told_still_has_its_status(shell):
    assert shell("$infer none.csv 2>/dev/full").returncode == 1
    assert shell("$infer none.csv 2>&-").returncode == 1
    assert shell("$infer a.csv --nothing 2>/dev/full").returncode == 2


def test_a_reader_that_leaves_does_not_change_a_verdict(shell):
    # No shipped bundle fits a file that lacks a column.
    done = shell("cut -d, -f1-5 a.csv > c.csv; $etcc check c.csv | true")
    assert (done.returncode, done.stderr) == (3, "")
    assert shell("$etcc info | true").returncode == 0


# --- links in a circle --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ("loop", 1, "loop: cannot be read: Too many levels of symbolic links"),
        ("a.csv -o loop", 1, "loop: cannot be written: Too many levels of symbolic links"),
        ("a.csv -o loop/out.csv", 2, "loop/out.csv: there is no folder loop"),
        ("a.csv --bundle loop", 2, "no bundle 'loop'"),
    ],
)
def test_links_in_a_circle_are_an_error_of_one_line(shell, tmp_path, words, status, complaint):
    (tmp_path / "loop").symlink_to("loop")
    done = shell(f"$infer {words}")
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith(f"Error: {complaint}")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "loop").is_symlink()


# --- memory and threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("etcc_edge.infer.pipeline.in_order", "MemoryError()"),
        ("etcc_edge.infer.pipeline.in_order", 'RuntimeError("can\'t start new thread")'),
        ("etcc_edge.infer.source.open_flows", "ImportError('x.so: failed to map segment from shared object')"),
        ("etcc_edge.infer.source.open_flows", "RuntimeError('Resource temporarily unavailable')"),
        (
            "etcc_edge.infer.source.open_flows",
            "type('Panic', (BaseException,), {})('PyObject pointer is null')",
        ),
    ],
)
def test_too_little_memory_is_an_error_of_one_line(shell, tmp_path, place, error):
    module, _, name = place.rpartition(".")
    (tmp_path / "run.py").write_text(
        f"import {module} as module\n"
        "from etcc_edge.cli import main\n"
        "def fail(*words, **options):\n"
        f"    raise {error}\n"
        f"module.{name} = fail\n"
        "main()\n"
    )
    done = shell(f"{sys.executable} run.py $(echo $infer | cut -d' ' -f2-) a.csv")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: not enough memory or threads; raise the limit")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.labels.csv").exists()


def test_a_limit_of_memory_that_is_too_small_leaves_no_traceback(shell, tmp_path):
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit is set already")
    done = shell("ulimit -v 60000; $infer a.csv")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.labels.csv").exists()


def test_too_many_threads_for_the_memory_are_an_error_of_one_line(shell, tmp_path):
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit is set already")
    (tmp_path / "c.pcap").write_bytes(pcap(exchange("10.0.0.1", 1000, "10.0.0.2", 443)))
    ends = set()
    for kilobytes in (300_000, 450_000, 600_000):  # 64 stacks of 8 MiB do not fit
        done = shell(f"ulimit -s 8192 -v {kilobytes}; $etcc meter c.pcap --threads 64 -o flows.csv --force")
        ends.add(done.returncode)
        assert done.returncode in (0, 1), done.stderr
        if done.returncode:
            assert re.fullmatch(r"Error: not enough memory or threads; raise the limit .*\n", done.stderr)
    assert 1 in ends


def test_too_many_threads_for_the_memory_are_an_exception(shell, tmp_path):
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("the limit is set already")
    (tmp_path / "run.py").write_text(
        "import numpy, resource\n"
        "import etcc_edge\n"
        "classifier = etcc_edge.load('default', threads=64)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)\n"
        "try:\n"
        "    classifier.predict(numpy.zeros((100_000, 42), numpy.float32))\n"
        "except (RuntimeError, MemoryError):\n"
        "    print('an exception')\n"
    )
    done = shell(f"ulimit -s 8192; {sys.executable} run.py", PYTHONSAFEPATH="1", OPENBLAS_NUM_THREADS="1")
    assert (done.returncode, done.stdout) == (0, "an exception\n"), done.stderr


# --- Ctrl-C during the start --------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["click", "etcc_edge.cli.infer", "numpy"])
@pytest.mark.parametrize("way", ["$etcc", f"{sys.executable} -m etcc_edge"])
def test_an_interrupt_while_modules_are_loaded_is_no_traceback(shell, tmp_path, module, way):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    )
    done = shell(f"{way} infer a.csv", PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="1")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_interrupt_while_parquet_is_written_is_one_line(shell, tmp_path, form):
    csv, parquet = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(csv.read_csv(tmp_path / "a.csv"), str(tmp_path / "a.parquet"))
    (tmp_path / "run.py").write_text(
        "from etcc_edge.cli import main\n"
        "from etcc_edge.infer import file\n"
        "def interrupted(*words, **options):\n"
        "    raise KeyboardInterrupt\n"
        "file.label_flows = interrupted\n"
        "main()\n"
    )
    done = shell(f"{sys.executable} run.py $(echo $infer | cut -d' ' -f2-) a.{form} -o out.parquet")
    assert (done.returncode, done.stderr.splitlines()[1:]) == (130, ["interrupted"])
    assert not (tmp_path / "out.parquet").exists()


# --- commands with a typo -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "hint"), [("infre", "; did you mean 'infer'?"), ("evalute", "; did you mean 'evaluate'?"), ("xyz", "")]
)
def test_a_command_with_a_typo_gets_the_nearest(shell, typo, hint):
    done = shell(f"$etcc {typo} a.csv")
    assert done.returncode == 2
    assert done.stderr == f"Error: No such command '{typo}'{hint} (see etcc-edge --help)\n"


# --- names and characters that no line holds ----------------------------------------------------------------

GENERATED = Path(__file__).parents[1] / "data" / "generated-flows.csv"


def test_a_name_that_is_not_utf8_is_labelled_summed_and_reported(shell, tmp_path):
    name = os.fsdecode(b"b\xff.csv")
    (tmp_path / name).write_bytes(GENERATED.read_bytes())
    done = shell(r"$etcc infer b?.csv --sum-by capture && $etcc evaluate b?.csv --report r.html --report r.md")
    assert done.returncode == 0, done.stderr
    assert lines(tmp_path / os.fsdecode(b"b\xff.labels.csv")) == 201
    assert (tmp_path / os.fsdecode(b"b\xff.windows.csv")).read_text("utf-8").splitlines()[1].startswith(r"b\xff.csv,")
    assert all(r"\xff.csv" in (tmp_path / report).read_text("utf-8") for report in ("r.html", "r.md"))


def test_the_summary_as_json_is_valid_text_whatever_a_file_is_called(shell, tmp_path):
    (tmp_path / os.fsdecode(b"b\xff.csv")).write_bytes(GENERATED.read_bytes())
    done = shell("$etcc infer b?.csv --json")
    assert json.loads(done.stdout)[0]["input"].encode() == rb"b\xff.csv"


def test_the_command_of_a_record_is_valid_text(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["etcc-edge", "train", os.fsdecode(b"b\xff.csv"), "-o", "x\ny"])
    assert as_typed().encode().startswith(rb"etcc-edge train 'b\xff.csv' -o")
    assert as_typed().isprintable()


@pytest.mark.parametrize("words", ["infer", "infer none.csv", "infer --nothing"])
def test_a_message_is_one_line_whatever_a_file_is_called(shell, tmp_path, words):
    (tmp_path / "new\nline\x1b[31m.csv").write_bytes(GENERATED.read_bytes())
    done = shell(f"$etcc {words} new*.csv")
    assert r"new\nline\x1b[31m.csv" in done.stderr or words == "infer --nothing"
    assert "\x1b" not in done.stderr
    assert not any(line.startswith("line") for line in done.stderr.splitlines())


def test_a_character_that_standard_output_lacks_costs_no_labels(shell, tmp_path):
    (tmp_path / "folder").mkdir()
    done = shell("$infer a.csv b.csv -o folder", PYTHONIOENCODING="latin-1")
    assert (done.returncode, lines(tmp_path / "folder" / "b.labels.csv")) == (0, 2001)
    assert r"b.csv \u2192 folder/b.labels.csv" in done.stdout


@pytest.mark.parametrize(
    "words", ["infer 流.csv --preview", "evaluate 流.csv --confusion", "check 流.csv", "info default --card"]
)
def test_a_character_that_standard_output_lacks_is_escaped(shell, tmp_path, words):
    shutil.copy(GENERATED, tmp_path / "流.csv")
    latin, usual = (shell(f"$etcc {words}", PYTHONIOENCODING=name) for name in ("latin-1", "utf-8"))
    assert "Traceback" not in latin.stderr
    assert latin.returncode == usual.returncode == 0
    assert latin.stdout == usual.stdout.encode("latin-1", "backslashreplace").decode("utf-8", "backslashreplace")


def test_labels_on_standard_output_are_bytes_whatever_its_encoding(shell, tmp_path):
    name, *rows = GENERATED.read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "c.csv").write_text(name + "".join("流" + row for row in rows), "utf-8")
    done = shell("$etcc infer c.csv -o -", PYTHONIOENCODING="latin-1")
    assert done.stdout.count("流") == 200
