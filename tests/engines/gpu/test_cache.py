"""The engine cache: one build for one recipe, and no byte of a file that is not its own."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcc_edge.engines.gpu.cache import EngineCache, recipe_key
from etcc_edge.engines.measured import folder as recommendations
from etcc_edge.errors import BackendError

RECIPE = {"onnx": "ab12", "scaler": "cd34", "precision": "fp16", "library": "tensorrt-rtx 1.7.1", "target": "sm75"}
ENGINE = bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def engine_file(cache: EngineCache) -> Path:
    return cache.folder / f"{recipe_key(RECIPE)}.engine"


def never() -> bytes:
    raise AssertionError("built although an engine is there")


class NotBuiltError(Exception):
    """Raised in place of a build."""


def kept(cache: EngineCache, recipe: Mapping[str, str] = RECIPE) -> bytes | None:
    """The engine that the cache has and trusts, or None. Nothing is built."""

    def refuse() -> bytes:
        raise NotBuiltError

    try:
        return cache.get(recipe, refuse).data
    except NotBuiltError:
        return None


def test_an_engine_is_built_once(cache: EngineCache) -> None:
    first = cache.get(RECIPE, lambda: ENGINE)
    assert (first.data, first.built, first.refused) == (ENGINE, True, "")
    again = cache.get(RECIPE, never)
    assert (again.data, again.built) == (ENGINE, False)
    assert kept(EngineCache(cache.folder)) == ENGINE


@pytest.mark.parametrize("part", RECIPE)
def test_any_other_recipe_is_another_engine(cache: EngineCache, part: str) -> None:
    cache.get(RECIPE, lambda: ENGINE)
    other = cache.get({**RECIPE, part: "other"}, lambda: b"another")
    assert (other.data, other.built, other.refused) == (b"another", True, "")
    assert cache.get(RECIPE, never).data == ENGINE


def test_only_the_user_can_read_what_it_keeps(cache: EngineCache) -> None:
    cache.get(RECIPE, lambda: ENGINE)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in cache.folder.iterdir()} == {0o600}


# --- damage -------------------------------------------------------------------------------------------------


def truncated(engine: Path) -> None:
    engine.write_bytes(ENGINE[:-1])


def emptied(engine: Path) -> None:
    engine.write_bytes(b"")


def lengthened(engine: Path) -> None:
    engine.write_bytes(ENGINE + b"\0")


def swapped(engine: Path) -> None:
    engine.write_bytes(ENGINE[::-1])


def without_manifest(engine: Path) -> None:
    engine.with_suffix(".json").unlink()


def without_engine(engine: Path) -> None:
    engine.unlink()


def foreign_manifest(engine: Path) -> None:
    table = json.loads(engine.with_suffix(".json").read_text())
    table["recipe"]["target"] = "sm86"
    engine.with_suffix(".json").write_text(json.dumps(table))


def newer_format(engine: Path) -> None:
    table = json.loads(engine.with_suffix(".json").read_text())
    engine.with_suffix(".json").write_text(json.dumps({**table, "format": 2}))


def manifest_of_another_kind(engine: Path) -> None:
    engine.with_suffix(".json").write_text("[1, 2]")


def manifest_of_garbage(engine: Path) -> None:
    engine.with_suffix(".json").write_bytes(b"\xff\x00{")


def huge_manifest(engine: Path) -> None:
    engine.with_suffix(".json").write_text("[" * 200_000)


def manifest_of_size(size: object) -> Callable[[Path], None]:
    def damage(engine: Path) -> None:
        table = json.loads(engine.with_suffix(".json").read_text())
        engine.with_suffix(".json").write_text(json.dumps({**table, "bytes": size}))

    return damage


def readable_by_others(engine: Path) -> None:
    engine.chmod(0o644)


def linked(engine: Path) -> None:
    engine.rename(engine.with_name("elsewhere"))
    engine.symlink_to("elsewhere")


def piped(engine: Path) -> None:
    engine.unlink()
    os.mkfifo(engine, 0o600)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "it has 10239 bytes, its manifest says 10240"),
        (emptied, "it has 0 bytes"),
        (lengthened, "it has 10241 bytes"),
        (swapped, "its SHA-256 is not its manifest's"),
        (without_manifest, "json is missing, so nothing vouches for the rest"),
        (without_engine, "engine is missing"),
        (foreign_manifest, "its manifest is another engine's"),
        (newer_format, "its manifest is another engine's"),
        (manifest_of_another_kind, "its manifest is damaged"),
        (manifest_of_garbage, "its manifest is damaged"),
        (huge_manifest, "its manifest is damaged"),
        (manifest_of_size(-5), "its manifest is damaged"),
        (manifest_of_size(float("inf")), "its manifest is damaged"),
        (manifest_of_size("10240"), "its manifest is damaged"),
        (manifest_of_size(10**18), "its manifest says 1000000000000000000"),
        (manifest_of_size(10**30), "its manifest says 1000000000000000000"),
        (readable_by_others, "engine file is open to others"),
        (linked, "engine file is a link"),
        (piped, "engine file is no plain file"),
    ],
)
def test_what_cannot_be_trusted_is_refused_with_the_reason_and_built_again(
    cache: EngineCache, damage: Callable[[Path], None], reason: str
) -> None:
    cache.get(RECIPE, lambda: ENGINE)
    damage(engine_file(cache))
    assert kept(cache) is None
    rebuilt = cache.get(RECIPE, lambda: b"rebuilt")
    assert (rebuilt.data, rebuilt.built) == (b"rebuilt", True)
    assert reason in rebuilt.refused
    assert cache.get(RECIPE, never).data == b"rebuilt"


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_flipped_bit_gets_through(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    cache = EngineCache(tmp_path_factory.mktemp("flips") / "engines")
    cache.get(RECIPE, lambda: ENGINE)
    path = data.draw(st.sampled_from([engine_file(cache), engine_file(cache).with_suffix(".json")]))
    held = bytearray(path.read_bytes())
    held[data.draw(st.integers(0, len(held) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(held)
    engine = cache.get(RECIPE, lambda: b"rebuilt")
    # A flip in the manifest's white space changes nothing; any other is seen.
    assert engine.data == (b"rebuilt" if engine.built else ENGINE)
    assert engine.built == (engine.refused != "")


def test_a_file_that_nobody_vouches_for_is_never_read(cache: EngineCache) -> None:
    cache.folder.mkdir(mode=0o700)
    engine_file(cache).write_bytes(b"foreign")
    engine_file(cache).chmod(0o600)
    engine = cache.get(RECIPE, lambda: ENGINE)
    assert (engine.data, engine.built) == (ENGINE, True)
    assert "nothing vouches" in engine.refused


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_can_write_is_refused(cache: EngineCache, mode: int) -> None:
    cache.folder.mkdir()
    cache.folder.chmod(mode)
    with pytest.raises(BackendError, match="others can write to this engine cache"):
        cache.get(RECIPE, lambda: ENGINE)


# --- trouble while building ---------------------------------------------------------------------------------


def test_a_failed_build_leaves_nothing(cache: EngineCache) -> None:
    def fail() -> bytes:
        raise BackendError("no")

    with pytest.raises(BackendError, match="no"):
        cache.get(RECIPE, fail)
    assert kept(cache) is None
    assert cache.get(RECIPE, lambda: ENGINE).built


@pytest.mark.parametrize("which", [1, 2])
def test_a_full_disk_costs_the_cache_and_not_the_engine(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    """Full at the engine (1) or at its manifest (2)."""
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    engine = cache.get(RECIPE, lambda: ENGINE)
    assert (engine.data, engine.built, engine.refused) == (ENGINE, True, "not kept: No space left on device")
    assert list(cache.folder.glob(".*.partial")) == []
    assert kept(cache) is None
    assert cache.get(RECIPE, lambda: ENGINE).refused != engine.refused
    assert cache.get(RECIPE, never).data == ENGINE


def test_a_folder_that_cannot_be_made_costs_the_cache_and_not_the_engine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    engine = EngineCache(tmp_path / "file" / "engines").get(RECIPE, lambda: ENGINE)
    assert engine.data == ENGINE
    assert engine.refused.startswith("not kept: ")


def _build_slowly(folder: Path, counter: Path) -> None:
    def build() -> bytes:
        with counter.open("a") as log:
            log.write("x")
        time.sleep(0.3)
        return ENGINE

    assert EngineCache(folder).get(RECIPE, build).data == ENGINE


def test_of_two_builders_one_builds(cache: EngineCache, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    builders = [context.Process(target=_build_slowly, args=(cache.folder, tmp_path / "log")) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert [builder.exitcode for builder in builders] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "x"


def _die_between_engine_and_manifest(folder: Path, at: int) -> None:
    replaced = os.replace
    calls = []

    def dying(source: str, target: str) -> None:
        calls.append(target)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        replaced(source, target)

    os.replace = dying  # type: ignore[assignment]
    EngineCache(folder).get(RECIPE, lambda: ENGINE)


@pytest.mark.parametrize("at", [1, 2])
def test_a_builder_killed_while_it_writes_leaves_nothing_that_is_loaded(cache: EngineCache, at: int) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=_die_between_engine_and_manifest, args=(cache.folder, at)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert kept(cache) is None
    assert cache.get(RECIPE, lambda: b"rebuilt").data == b"rebuilt"


def test_what_a_killed_builder_left_is_cleared_later(cache: EngineCache) -> None:
    cache.folder.mkdir(mode=0o700)
    old, new = cache.folder / ".a.partial", cache.folder / ".b.partial"
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    cache.get(RECIPE, lambda: ENGINE)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_a_killed_builder_left_is_cleared_by_the_next_builder_of_that_engine(cache: EngineCache) -> None:
    cache.folder.mkdir(mode=0o700)
    partial = cache.folder / f".{recipe_key(RECIPE)}.engine.abc.partial"
    partial.write_bytes(b"x")
    cache.get(RECIPE, lambda: ENGINE)
    assert not partial.exists()


# --- size ---------------------------------------------------------------------------------------------------


def test_beyond_the_limit_the_least_recently_used_goes(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", limit=250)
    recipes = [{**RECIPE, "onnx": str(i)} for i in range(4)]
    for i, recipe in enumerate(recipes[:2]):
        cache.get(recipe, lambda: b"e" * 100)
        os.utime(cache.folder / f"{recipe_key(recipe)}.engine", ns=(i, i))
    cache.get(recipes[0], never)  # used again, so the other is the older
    cache.get(recipes[2], lambda: b"e" * 100)
    assert [kept(cache, recipe) is not None for recipe in recipes] == [True, False, True, False]
    assert len(list(cache.folder.glob("*.json"))) == 2


def test_what_killed_builders_left_takes_room_as_well(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", limit=250)
    recipes = [{**RECIPE, "onnx": str(i)} for i in range(2)]
    cache.get(recipes[0], lambda: b"e" * 100)
    (cache.folder / ".other.engine.abc.partial").write_bytes(b"x" * 100)
    cache.get(recipes[1], lambda: b"e" * 100)
    assert [kept(cache, recipe) is not None for recipe in recipes] == [False, True]


def test_an_engine_beyond_the_limit_is_kept_until_the_next(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines", limit=50)
    cache.get(RECIPE, lambda: ENGINE)
    assert cache.get(RECIPE, never).data == ENGINE


def test_the_folder_is_in_the_users_cache_or_in_what_they_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ETCC_EDGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert EngineCache().folder == tmp_path / "etcc-edge" / "engines"
    assert recommendations() == tmp_path / "etcc-edge" / "recommendations"
    monkeypatch.setenv("ETCC_EDGE_CACHE", str(tmp_path / "mine"))
    assert EngineCache().folder == tmp_path / "mine" / "engines"
    assert recommendations() == tmp_path / "mine" / "recommendations"
