from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from cluster import storage
from synth.errors import UserError


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A folder of each kind of storage that a machine without a network has."""
    if request.param == "memory":
        yield f"memory://{tmp_path.name}"
        memory = fsspec.filesystem("memory")
        if memory.exists(f"/{tmp_path.name}"):
            memory.rm(f"/{tmp_path.name}", recursive=True)
    else:
        yield str(tmp_path) if request.param == "path" else tmp_path.as_uri()


def fill(folder: Path, word: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text(word)
    (folder / "manifest.json").write_text(listing(word))
    (folder / "manifest.sig").write_text(word)


def listing(word: str) -> str:
    return json.dumps({"files": {"sub/a.txt": word}})


def words(location: str) -> set[str]:
    found = {name: storage.read_bytes(storage.join(location, name)).decode() for name in storage.list_files(location)}
    return {json.loads(text)["files"]["sub/a.txt"] if name == "manifest.json" else text for name, text in found.items()}


def test_bytes_come_back(place: str) -> None:
    target = storage.join(place, "a/b.bin")
    assert not storage.exists(target)
    storage.write_bytes(target, b"one")
    storage.write_bytes(target, b"two")
    assert storage.read_bytes(target) == b"two"
    assert storage.exists(target)
    assert storage.list_files(place) == {"a/b.bin": 3}


def test_large_files_come_in_pieces(place: str) -> None:
    storage.write_bytes(storage.join(place, "x"), b"1" * (5 << 19))
    assert [len(chunk) for chunk in storage.read_chunks(storage.join(place, "x"))] == [1 << 20, 1 << 20, 1 << 19]


def test_a_compressed_ending_changes_nothing(place: str) -> None:
    storage.write_bytes(storage.join(place, "x.gz"), b"plain")
    assert storage.read_bytes(storage.join(place, "x.gz")) == b"plain"


def test_what_is_not_there_is_named(place: str) -> None:
    missing = storage.join(place, "nothing")
    for read in (storage.read_bytes, storage.list_files, storage.remove_tree):
        with pytest.raises(UserError, match="nothing: no such"):
            read(missing)


def test_a_file_is_not_a_folder(place: str) -> None:
    storage.write_bytes(storage.join(place, "x"), b"")
    with pytest.raises(UserError, match="is a file"):
        storage.list_files(storage.join(place, "x"))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("nonsense://x/y", "nonsense://x/y: not an address"),
        ("s3://AKIA:s3cr3t/x@bucket/y", "s3://bucket/y: not an address"),
        ("s3://k:s3cr3t@bucket/y?password=s3cr3t", "s3://bucket/y: not an address"),
    ],
)
def test_an_unreadable_address_is_named_without_its_secrets(location: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        storage.resolve(location)
    assert "s3cr3t" not in str(caught.value)


def test_which_places_are_remote(tmp_path: Path) -> None:
    assert storage.is_remote("s3://b/x")
    assert storage.is_remote("simplecache::s3://b/x")
    for local in (tmp_path, "x", "~/x", "C:\\x", "file:///x", "/a::b"):
        assert not storage.is_remote(local)
    assert storage.join("s3://b/x?region=eu", "y") == "s3://b/x/y?region=eu"
    assert storage.join("/a?b/", "y") == "/a?b/y"


def test_a_folder_is_published_when_complete(place: str) -> None:
    out = storage.join(place, "new/release")
    with storage.staged_directory(out) as folder:
        fill(folder, "first")
        assert not storage.exists(out)
    assert words(out) == {"first"}
    assert list(storage.list_files(place)) == [
        f"new/release/{name}" for name in ("manifest.json", "manifest.sig", "sub/a.txt")
    ]


def test_a_failure_leaves_nothing(place: str) -> None:
    out = storage.join(place, "release")
    with pytest.raises(ZeroDivisionError), storage.staged_directory(out) as folder:
        fill(folder, "first")
        raise ZeroDivisionError
    assert not storage.exists(out)
    assert not storage.exists(place) or storage.list_files(place) == {}


def test_what_exists_is_kept_unless_told(place: str) -> None:
    out = storage.join(place, "release")
    with storage.staged_directory(out) as folder:
        fill(folder, "first")
    with pytest.raises(UserError, match=r"release: exists.*--overwrite"), storage.staged_directory(out):
        pytest.fail("the block must not start")
    with pytest.raises(ZeroDivisionError), storage.staged_directory(out, overwrite=True) as folder:
        fill(folder, "second")
        raise ZeroDivisionError
    assert words(out) == {"first"}
    with storage.staged_directory(out, overwrite=True) as folder:
        (folder / "manifest.json").write_text(listing("second"))
        (folder / "manifest.sig").write_text("second")
        assert words(out) == {"first"}
    assert words(out) == {"second"}
    assert list(storage.list_files(place)) == ["release/manifest.json", "release/manifest.sig"]


def test_what_somebody_else_published_meanwhile_is_kept(place: str) -> None:
    out = storage.join(place, "release")
    with pytest.raises(UserError, match="exists"), storage.staged_directory(out) as folder:
        fill(folder, "late")
        with storage.staged_directory(out) as other:
            fill(other, "early")
    assert words(out) == {"early"}


def test_a_stranger_is_never_replaced_or_deleted(place: str) -> None:
    out = storage.join(place, "photos")
    storage.write_bytes(storage.join(out, "manifest.json"), b"of a web page")
    with pytest.raises(UserError, match="photos: is neither a release nor a run"):
        storage.remove_tree(out)
    with (
        pytest.raises(UserError, match="photos: is neither a release nor a run"),
        storage.staged_directory(out, overwrite=True),
    ):
        pytest.fail("the block must not start")
    assert storage.read_bytes(storage.join(out, "manifest.json")) == b"of a web page"


def test_what_lies_in_a_release_and_is_not_of_it_is_kept(place: str) -> None:
    out = storage.join(place, "release")
    with storage.staged_directory(out) as folder:
        fill(folder, "first")
    storage.write_bytes(storage.join(out, "customers.csv"), b"precious")
    for refused in (storage.remove_tree, lambda out: storage.check_free(out, overwrite=True)):
        with pytest.raises(UserError, match=r"release: holds customers\.csv, which the release there does not list"):
            refused(out)
    assert storage.read_bytes(storage.join(out, "customers.csv")) == b"precious"


def test_what_may_not_be_replaced_is_known_at_once(place: str) -> None:
    out = storage.join(place, "out")
    storage.check_free(out)
    storage.write_bytes(storage.join(out, "mine.txt"), b"")
    with pytest.raises(UserError, match="--overwrite"):
        storage.check_free(out)
    with pytest.raises(UserError, match="is neither a release nor a run"):
        storage.check_free(out, overwrite=True)
    with pytest.raises(UserError, match=r"mine\.txt: is a file"):
        storage.check_free(storage.join(out, "mine.txt"), overwrite=True)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/data/x/", "/data/x.run"),
        ("/data/why?", "/data/why?.run"),
        ("s3://bucket/x?region=eu", "s3://bucket/x.run?region=eu"),
        ("file:///data/x", "file:///data/x.run"),
    ],
)
def test_a_suffix_goes_to_the_path(location: str, expected: str) -> None:
    assert storage.append(location, ".run") == expected


def test_runs_and_releases_are_deleted(place: str) -> None:
    run = storage.join(place, "run")
    storage.write_bytes(storage.join(run, storage.RUN_MARKER), b"{}")
    storage.remove_tree(run)
    assert not storage.exists(run)


def test_an_empty_folder_needs_overwrite_too(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists"), storage.staged_directory(tmp_path / "out"):
        pass
    with storage.staged_directory(tmp_path / "out", overwrite=True) as folder:
        (folder / "x").touch()
    assert storage.list_files(tmp_path / "out") == {"x": 0}


def test_a_link_keeps_pointing_where_it_did(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "true")
    for word in ("first", "second"):
        with storage.staged_directory(tmp_path / "link", overwrite=True) as folder:
            fill(folder, word)
    assert (tmp_path / "link").is_symlink()
    assert words(str(tmp_path / "true")) == {"second"}


def test_a_release_has_the_usual_mode(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        with storage.staged_directory(tmp_path / "out"):
            pass
    finally:
        os.umask(previous)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    root = Path(storage.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=root, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("location", ["{}", "file://{}"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, location: str) -> None:
    code = """
        import os, signal, sys, time
        from cluster import storage
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits that it is ignored
        with storage.staged_directory(sys.argv[1]) as folder:
            (folder / "half").write_text("made")
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
    """
    done = run(code, location.format(tmp_path / "deep" / "out"))
    assert done.returncode == -signal.SIGINT
    assert list((tmp_path / "deep").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_named_with_figures(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"out: no space left.*free on that disk") as caught,
        storage.staged_directory(tmp_path / "out") as folder,
    ):
        (folder / "data").write_bytes(b"1" * 5000)
        (folder / "weights").symlink_to("/dev/full")  # every write to it fails with ENOSPC
        (folder / "weights").write_bytes(b"1")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert "5 kB" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    code = """
        import resource, sys
        from cluster import storage
        from synth.errors import UserError
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            with storage.staged_directory(sys.argv[1] + "/out") as folder:
                (folder / "weights").write_bytes(b"1" * 5000)
        except UserError as error:
            print(error)
        try:
            storage.write_bytes(sys.argv[1] + "/file", b"1" * 5000)
        except UserError as error:
            print(error)
    """
    done = run(code, tmp_path)
    assert done.stdout.count("no space left to write it") == 2, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_about_other_files_are_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), storage.staged_directory(tmp_path / "out"):
        (tmp_path / "data.csv").read_bytes()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"out: .*not a folder"), storage.staged_directory(tmp_path / "file" / "out"):
        pass


@pytest.fixture
def ordinary_user() -> Iterator[None]:
    """Root may write everywhere: be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_place_that_may_not_be_written_is_named(tmp_path: Path, ordinary_user: None) -> None:
    if os.geteuid() != 65534:
        tmp_path.chmod(0o500)
    for out in (tmp_path / "out", Path("/etc/out")):
        with pytest.raises(UserError, match="out: permission denied"), storage.staged_directory(out):
            pass
        with pytest.raises(UserError, match="out: permission denied"):
            storage.write_bytes(out, b"")


def test_what_the_system_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x: File name too long; choose another place"):
        storage.write_bytes(tmp_path / ("x" * 300), b"")


def test_a_store_that_breaks_half_way_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"memory://{tmp_path.name}"
    out = storage.join(place, "release")
    with storage.staged_directory(out) as folder:
        fill(folder, "first")
    memory = fsspec.filesystem("memory")
    whole, opened = memory.open, []

    def breaking(path: str, *arguments: object, **options: object) -> object:
        opened.append(path)
        if len(opened) == 2:
            raise OSError(errno.EIO, "the network went away, at https://ana:s3cr3t@host/x?sig=s3cr3t")
        return whole(path, *arguments, **options)

    monkeypatch.setattr(memory, "open", breaking)
    with (
        pytest.raises(UserError, match="network went away") as caught,
        storage.staged_directory(out, overwrite=True) as folder,
    ):
        fill(folder, "second")
    assert "s3cr3t" not in str(caught.value)
    assert words(out) == {"first"}
    assert all(name.startswith("release/") for name in storage.list_files(place))


def test_the_signature_is_uploaded_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    whole, opened = memory.open, []

    def noting(path: str, *arguments: object, **options: object) -> object:
        opened.append(path.rpartition("/")[2])
        return whole(path, *arguments, **options)

    monkeypatch.setattr(memory, "open", noting)
    with storage.staged_directory(f"memory://{tmp_path.name}/release") as folder:
        fill(folder, "first")
        (folder / "weights").touch()
    assert opened == ["a.txt", "weights", "manifest.json", "manifest.sig"]


def test_importing_is_light() -> None:
    done = run("import sys, cluster.storage; print(sorted({'torch', 'ray', 'pandas'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr
