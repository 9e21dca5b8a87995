"""The image GAN: two players who leave each other's weights alone, penalties, and augmentation that adapts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from synth.family import ImageGanRecipe, Objective
from synth.generators.base import Draw
from synth.generators.families import build
from synth.generators.image_gan import MOST, ImageGAN
from synth.generators.layout import Cell, Encoded, Layout
from synth.recipe import Recipe

GREY = Layout(cells=(Cell(shares=(0.25, 0.75)),), values=64, target=0, image=(1, 8, 8))
COLOUR = Layout(cells=(), values=3 * 28 * 28, image=(3, 28, 28))
ODD = Layout(cells=GREY.cells, values=9 * 13, target=0, image=(1, 9, 13))


def small(layout: Layout, **options: Any) -> ImageGAN:
    torch.manual_seed(0)
    return ImageGAN(layout, **ImageGanRecipe(latent=8, width=16, **options).model_dump())


def batch(layout: Layout, rows: int = 8) -> Encoded:
    draw = Draw("batch")
    cells = (draw.uniform(rows, len(layout.cells)) * 2).long()
    return Encoded(cells, (draw.uniform(rows, layout.values) * 256).to(torch.uint8))


def stirred(model: ImageGAN) -> ImageGAN:
    """With weights where zeros hold back the rest."""
    with torch.no_grad():
        for n, p in enumerate(model.parameters()):
            if not p.any():
                p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(n)))
    return model


def losses(model: ImageGAN, rows: Encoded, draw: Draw) -> list[Tensor]:
    return [loss for _, loss in model.losses(model.players, rows, draw, 0)]


@pytest.mark.parametrize("layout", [GREY, COLOUR, ODD])
def test_samples_are_bytes_that_fit_the_layout_and_depend_on_the_draw_alone(layout: Layout) -> None:
    model = stirred(small(layout))
    first, again, other = model.sample(8, Draw(5)), model.sample(8, Draw(5)), model.sample(8, Draw(6))
    assert first.values.shape == (8, layout.values) and first.values.dtype == torch.uint8
    assert first.cells.shape == (8, len(layout.cells)) and first.cells.dtype == torch.long
    assert torch.equal(first.cells, again.cells) and torch.equal(first.values, again.values)
    assert not torch.equal(first.values, other.values)
    if layout.cells:
        assert torch.bincount(first.cells[:, 0]).tolist() == [2, 6]


@pytest.mark.parametrize("options", [{}, {"gamma": 0.0}, {"spectral": True}])
@pytest.mark.parametrize("objective", get_args(Objective))
def test_each_loss_moves_all_weights_of_its_player_and_none_of_the_others(
    objective: str, options: dict[str, Any]
) -> None:
    model = stirred(small(GREY, objective=objective, **options))
    pending = model.losses(model.players, batch(GREY), Draw(1), 0)
    for player, other in (("critic", "generator"), ("generator", "critic")):
        model.zero_grad()
        name, loss = next(pending)
        loss.backward()
        assert name == player and loss.ndim == 0
        # Added to both scores of a pair, or to neither's slope, it is out of the game.
        free = {"score.bias"} if objective != "non-saturating" else set()
        idle = {n for n, p in model.players[player].named_parameters() if p.grad is None or not p.grad.any()}
        assert idle <= free
        assert all(p.grad is None for p in model.players[other].parameters())
    assert all(p.requires_grad for p in model.parameters())
    assert next(pending, None) is None


def test_the_generators_step_judges_with_the_critic_itself() -> None:
    model, asked = small(GREY), list[str]()

    def through(name: str, player: nn.Module) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            asked.append(name)
            return player(*args, **kwargs)

        return run

    call = {name: through(name, player) for name, player in model.players.items()}
    assert [name for name, _ in model.losses(call, batch(GREY), Draw(1), 0)] == ["critic", "generator"]
    assert asked == ["generator", "critic", "generator"]


@pytest.mark.parametrize("options", [{}, {"objective": "wasserstein"}])
def test_workers_with_unequal_shares_agree_on_the_whole_batchs_loss_and_gradient(options: dict[str, Any]) -> None:
    model, rows = stirred(small(GREY, **options)), batch(GREY, 7)
    model.critic.chance.data.fill_(0.5)  # type: ignore[union-attr]

    def gradients(parts: int) -> tuple[list[float], dict[str, Tensor]]:
        means, model_gradients = [0.0, 0.0], dict[str, Tensor]()
        for rank in range(parts):
            mine = slice(rank, None, parts) if parts > 1 else slice(None)
            draw = Draw("train", part=mine if parts > 1 else None, total=7)
            share = Encoded(rows.cells[mine], rows.values[mine])
            for index, (player, loss) in enumerate(model.losses(model.players, share, draw, 0)):
                names, weights = zip(*model.players[player].named_parameters(), strict=True)
                found = torch.autograd.grad(loss, weights, allow_unused=True)
                means[index] += float(loss.detach()) / parts
                for name, gradient in zip(names, found, strict=True):
                    if gradient is not None:
                        key = f"{player}.{name}"
                        model_gradients[key] = model_gradients.get(key, torch.zeros(())) + gradient / parts
        return means, model_gradients

    (alone, one), (together, three) = gradients(1), gradients(3)
    assert together == pytest.approx(alone, rel=1e-5)
    assert one.keys() == three.keys() and "critic.chance" in one
    for name, gradient in one.items():
        torch.testing.assert_close(three[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_the_two_images_of_a_pair_are_of_one_class_which_both_players_are_told() -> None:
    model = stirred(small(GREY))
    noise = torch.randn(4, 8)
    zeros, ones = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    images = model.generator(noise, zeros)
    assert not torch.equal(images, model.generator(noise, ones))
    assert not torch.equal(model.critic.judge(images, zeros), model.critic.judge(images, ones))


def adapt(model: ImageGAN, judge: Callable[[Tensor, Tensor | None], Tensor], steps: int) -> float:
    """The chance after steps in which nothing but it is learnt, with the scores of ``judge``."""
    model.critic.judge = judge  # type: ignore[method-assign]
    optimizer = torch.optim.AdamW([model.critic.chance], lr=0.01, betas=(0.0, 0.99), weight_decay=0.0)
    for step in range(steps):
        _, loss = next(model.losses(model.players, batch(GREY), Draw(step), step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(model.critic.chance.detach())  # type: ignore[union-attr]


def scores(gain: float) -> Callable[[Tensor, Tensor | None], Tensor]:
    """A critic by which real images, which are noise, are above flat ones by ``gain``."""
    return lambda images, classes: gain * images.flatten(1).std(1)


def test_augmentation_becomes_likelier_while_the_critic_errs_in_no_pair_and_rarer_while_it_cannot_tell() -> None:
    model = small(GREY, gamma=0.0)
    nn.init.zeros_(model.generator.decoder.pixels.weight)  # of no colour but grey
    assert model.critic.chance is not None and not model.critic.chance.any()
    risen = adapt(model, scores(1.0), 30)
    assert 0.2 < risen <= 0.31  # about a learning rate a step
    assert adapt(model, scores(0.0), 10) == pytest.approx(risen - 0.1, abs=0.03)
    assert -0.05 < adapt(model, scores(0.0), 60) < 0.02  # and goes no lower than never, nor beyond MOST
    model.critic.chance.data.fill_(MOST)
    assert adapt(model, scores(1.0), 60) < MOST + 0.1


def test_the_chance_of_augmentation_is_in_what_checkpoints_keep_and_goes_on_from_there() -> None:
    model = small(GREY)
    model.critic.chance.data.fill_(0.37)  # type: ignore[union-attr]
    kept = {name for name, _ in model.critic.named_parameters()}
    state: Mapping[str, Tensor] = model.state_dict()
    assert "chance" in kept and set(state) == {n for n, _ in model.named_parameters()}
    other = small(GREY)
    other.load_state_dict(state)
    for ours, theirs in zip(losses(model, batch(GREY), Draw(2)), losses(other, batch(GREY), Draw(2)), strict=True):
        assert torch.equal(ours, theirs)
    other.critic.chance.data.fill_(0.0)  # type: ignore[union-attr]
    assert not torch.equal(losses(model, batch(GREY), Draw(2))[0], losses(other, batch(GREY), Draw(2))[0])


def test_spectral_normalisation_holds_every_layer_of_the_critic_to_a_slope_of_one_from_the_start() -> None:
    model = small(GREY, spectral=True)
    assert all(loss.isfinite() for loss in losses(model, batch(GREY), Draw(1)))
    layers = [m for m in model.critic.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    norms = torch.stack([torch.linalg.matrix_norm(m.weight.detach().flatten(1), ord=2) for m in layers])
    assert len(norms) > 6 and float((norms - 1).abs().max()) < 0.1


def test_without_augmentation_there_is_no_chance_to_learn() -> None:
    assert small(GREY, augment=()).critic.chance is None


def test_it_learns_two_images_by_their_classes() -> None:
    model = small(GREY, gamma=0.1, augment=())
    shown = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    shown[0, :, 2:6, 2:6], shown[1, :, :, 4:] = 255, 255
    cells = torch.arange(16)[:, None] % 2
    rows = Encoded(cells, shown.flatten(1)[cells[:, 0]])
    optimizers = {
        name: torch.optim.AdamW(player.parameters(), lr=3e-3, betas=(0.0, 0.99), weight_decay=0.0)
        for name, player in model.players.items()
    }
    for step in range(100):
        for player, loss in model.losses(model.players, rows, Draw("fit", step), step):
            optimizers[player].zero_grad()
            loss.backward()
            optimizers[player].step()
    drawn = model.sample(64, Draw("sample"))
    error = (drawn.values.float() - shown.flatten(1)[drawn.cells[:, 0]].float()).abs().mean() / 255
    assert float(error) < 0.2  # 0.5 at first


def test_the_recipe_builds_it_and_has_it_trained_as_suits_it() -> None:
    recipe = Recipe.check({"family": "gan", "image": {"gan": {"width": 16, "gamma": 0.5}}, "training": {"batch": 48}})
    model = build(recipe, GREY)
    assert isinstance(model, ImageGAN) and model.critic.gamma == 0.5
    training = recipe.suited(images=True).training
    assert training.beta1 == 0.0 and training.memory > 1e6 and training.batch == 48
    assert recipe.image.gan.second_order is not None and ImageGanRecipe(gamma=0.0).second_order is None


def test_nothing_is_sampled_from_the_judge() -> None:
    model = stirred(small(GREY))
    drawn = model.sample(8, Draw(5))
    for judge in model.judges:
        delattr(model, judge)
    assert {name.partition(".")[0] for name in model.state_dict()} == {"generator"}
    assert torch.equal(model.sample(8, Draw(5)).values, drawn.values)


def test_it_says_how_often_images_are_augmented() -> None:
    model = small(GREY)
    model.critic.chance.data.fill_(0.9)  # type: ignore[union-attr]
    (said,) = model.remarks(batch(GREY))
    assert "0.80" in said and "translate, scale, rotate" in said
    assert small(GREY, augment=()).remarks(batch(GREY)) == []
