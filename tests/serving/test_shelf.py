"""A release is verified when it comes to be served, and what is known of it without its weights is right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.catalogue import Version
from serving.shelf import Shelf, opened
from synth import release as releases
from synth.errors import ReleaseError, UserError
from tests.serving.releases import publish, publish_images


def shelf(place: Path, *, any_signer: bool = True) -> Shelf:
    return opened(Version("people", 1, str(place)), any_signer=any_signer)


def test_what_is_known_of_a_release_is_what_it_says(people: Path) -> None:
    found, release = shelf(people), releases.load(str(people))
    assert (found.manifest, found.schema, found.certificate) == (release.manifest, release.schema, None)
    assert found.healthy and found.report is None and "an unknown key" in found.signer
    found.alarm = {"at": 1.0}
    assert not found.healthy


def test_it_knows_in_which_qualities_rows_can_be_asked_for(people: Path, taught: Path) -> None:
    assert shelf(people).qualities == ("best",) and shelf(taught).qualities == ("best", "fast")


def test_it_knows_whether_rows_are_drawn_in_small_blocks(people: Path, steady: Path, tmp_path: Path) -> None:
    assert shelf(people).joins and shelf(steady).joins
    assert not shelf(publish_images(tmp_path / "pets")).joins


def test_one_s_own_releases_are_served_and_a_stranger_s_are_not(people: Path, tmp_path: Path) -> None:
    mine = publish(tmp_path / "mine")
    assert "your own key" in shelf(mine, any_signer=False).signer
    with pytest.raises(ReleaseError, match=r"is signed by an unknown key, .*; if you know whose it is, add it"):
        shelf(people, any_signer=False)


@pytest.mark.parametrize("name", ["weights.safetensors", "codec.json", "schema.yaml", "recipe.yaml", "manifest.json"])
def test_a_damaged_release_is_named_by_its_file(people: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(people, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ReleaseError, match=name if name != "manifest.json" else "manifest"):
        shelf(copy)


def test_what_is_no_release_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(place)):
            shelf(place)
