"""What variational autoencoders have in common: their divergence, its schedule, and whether their latent units are used."""

from __future__ import annotations

from torch import Tensor

# Variance over rows of a unit's posterior mean above which it is active (Burda et al. 2016).
ACTIVE = 0.01
# Share of active units up to which a posterior has collapsed; a simple table needs few, and that is no fault.
FEW = 0.05


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) ‖ N(0, 1)) of each unit in nats, of the shape of ``mean`` (Kingma and Welling 2014, arXiv
    1312.6114, appendix B)."""
    return (mean**2 + log_variance.exp() - 1 - log_variance) / 2


def posterior(mean: Tensor, log_variance: Tensor, normal: Tensor) -> Tensor:
    """A sample of N(mean, variance) from standard ``normal`` noise, differentiable in both (ibid., section 2.4)."""
    return mean + (log_variance / 2).exp() * normal


def free_bits(nats: Tensor, free: float) -> Tensor:
    """(rows,) divergence of each row's units (rows, units) with the first ``free`` nats of each unit free of charge:
    Σ_j max(free, KL_j), so that nothing is gained by a unit that says nothing (Kingma et al. 2016, arXiv 1606.04934,
    Eq. 15; for each row in place of the batch's mean, as a mean over rows is the same however workers share them)."""
    return nats.clamp_min(free).sum(1)


def cyclical(step: int, period: int, cycles: int, rise: float) -> float:
    """Weight of the divergence at step ``step`` (from 0): ``cycles`` times a ramp from 0 to 1 over the first ``rise`` of
    ``period`` steps and 1 for the rest of them, and 1 for good after that (Fu et al. 2019, arXiv 1903.10145, Eq. 6–8).

    One cycle is plain annealing (Bowman et al. 2016); none leaves the weight at 1.
    """
    if step >= cycles * period:
        return 1.0
    return min(1.0, (step % period) / (rise * period))


def active(means: Tensor) -> Tensor:
    """(units,) boolean: Var_x(E[z_j | x]) > 0.01 over the posterior means (rows, units) of two rows or more (Burda et al.
    2016, arXiv 1509.00519, section 5.2)."""
    return means.var(0) > ACTIVE


def collapse(used: Tensor) -> list[str]:
    """How many of the units (units,) are active; where hardly one is, a sentence that calls it by its name."""
    count, units = int(used.sum()), len(used)
    said = f"{count} of {units} latent units are active (Var E[z|x] > {ACTIVE})"
    if count > FEW * units:
        return [said]
    return [f"posterior collapse: {said}; samples hardly depend on z. Raise free_bits or period, or lower beta"]
