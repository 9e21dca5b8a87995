import torch

from synth.generators.residual import Gated


def test_a_gated_block_begins_as_the_identity_and_costs_as_much_as_two_plain_matrices() -> None:
    block, x = Gated(96, 2), torch.randn(5, 96, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x)
    weights = sum(p.numel() for p in block.parameters() if p.ndim > 1)
    assert abs(weights / (2 * 96 * 192) - 1) < 0.05


def test_a_gated_block_learns_what_is_a_product() -> None:
    """Of two inputs, of which a plain block of as many weights learns less in as many steps."""
    from synth.generators.residual import Block

    def error(block: torch.nn.Module) -> float:
        source = torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(block.parameters(), 1e-2)
        for _ in range(200):
            x = torch.randn(256, 16, generator=source)
            loss = ((block(x)[:, 0] - x[:, 0] - x[:, 1] * x[:, 2]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    torch.manual_seed(0)
    assert error(Gated(16, 2)) < error(Block(16, 2))


def test_gain_drops_units() -> None:
    torch.manual_seed(0)
    block, x = Gated(16, 2), torch.randn(4, 16)
    torch.nn.init.normal_(block.narrow.weight)
    assert torch.equal(block(x, torch.zeros(4, block.units)), x + block.narrow.bias)
    assert not torch.equal(block(x, torch.ones(4, block.units)), x)
