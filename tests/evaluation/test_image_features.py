from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synth.errors import UserError
from synth.evaluation import image_network
from synth.evaluation.image_features import given, learnt

Digits = tuple[NDArray[np.uint8], NDArray[np.intp]]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class Mean(nn.Module):
    """Two features of an image: its mean in [0, 1], and the number of its channels."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images.mean((1, 2, 3)), torch.full_like(images[:, 0, 0, 0], images.shape[1])], 1)


class Grey(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(images)


def saved(network: nn.Module, path: Path) -> str:
    torch.jit.script(network).save(str(path))
    return str(path)


def test_features_are_learnt_on_one_half_and_know_the_classes(digits: Digits) -> None:
    images, classes = digits
    shown, held = (images[:300], classes[:300]), (images[300:500], classes[300:500])
    found, again = (learnt(*shown, held, np.random.default_rng(1)) for _ in range(2))
    assert len(found.unseen) == 150
    x = found.of(shown[0])
    assert np.array_equal(x, again.of(shown[0]))
    known = np.delete(x, found.unseen, axis=0)
    assert x.shape == (300, 64)
    assert np.allclose(known.mean(axis=0), 0, atol=1e-4)
    assert known.var(axis=0).mean() == pytest.approx(1, rel=1e-3)
    share = float(found.describe.split("right on ")[1].split("%")[0])
    assert share > 80
    # The nearest other digit by features is of the same class.
    y = found.of(held[0])
    apart = np.linalg.norm(y[:, None] - y, axis=2) + np.diag(np.full(len(y), np.inf))
    assert (held[1][apart.argmin(axis=1)] == held[1]).mean() > 0.85
    assert np.allclose(found.of(held[0][:3]), y[:3], atol=1e-4)  # whatever is beside them


def test_without_classes_features_are_learnt_from_turns(digits: Digits) -> None:
    images, _ = digits
    found = learnt(images[:200], None, (images[200:280], None), np.random.default_rng(0))
    assert "by how much they are turned" in found.describe
    assert float(found.describe.split("right on ")[1].split("%")[0]) > 60  # of four turns
    wide = learnt(images[:60, :5], None, (images[200:260, :5], None), np.random.default_rng(0))
    assert wide.of(images[:2, :5]).shape == (2, 64)


def test_every_pixel_of_a_large_image_is_seen_and_sizes_that_do_not_divide_are_fine() -> None:
    for shape in ((256, 200, 3), (37, 18, 1), (8, 8, 4), (1, 1, 1)):
        network = image_network.Network(shape, 3)
        image = torch.randint(0, 256, (1, *shape), dtype=torch.uint8)
        assert network(image).shape == (1, 3)
        assert network.seen(image).shape[1] <= 2048
        scaled = image.float().requires_grad_()
        network.convolutions[:1](nn.functional.pad(scaled.movedim(3, 1), network.padding)).square().sum().backward()
        assert scaled.grad is not None
        assert (scaled.grad != 0).all()


def test_a_given_network_sees_images_in_unit_range_channels_first(tmp_path: Path) -> None:
    found = given(saved(Mean(), tmp_path / "mean.pt"), (4, 6, 3), 300)
    images = np.full((300, 4, 6, 3), 51, np.uint8)
    assert np.allclose(found.of(images), [0.2, 3])
    assert len(found.unseen) == 300
    assert found.describe == "2 features of the network in mean.pt"


def test_what_is_no_network_for_these_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        given(str(tmp_path / "none.pt"), (4, 4, 3), 10)
    torch.save(Mean(), tmp_path / "pickle.pt")
    with pytest.raises(UserError, match="is no TorchScript archive"):
        given(str(tmp_path / "pickle.pt"), (4, 4, 3), 10)
    path = saved(Grey(), tmp_path / "grey.pt")
    with pytest.raises(UserError, match="does not take images of 1 channels × 4 × 4"):
        given(path, (4, 4, 1), 10)
    with pytest.raises(UserError, match=r"gives \(2, 4, 2, 2\), not finite features"):
        given(path, (4, 4, 3), 10)


def test_no_pickle_is_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "fired",)

    torch.save({"a": Bomb()}, tmp_path / "bomb.pt")
    with pytest.raises(UserError):
        given(str(tmp_path / "bomb.pt"), (4, 4, 3), 10)
    assert not (tmp_path / "fired").exists()
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert (tmp_path / "fired").exists()
