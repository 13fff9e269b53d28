"""Step schedule with warm-up."""

from __future__ import annotations

from dataclasses import dataclass

from tailwise.errors import BadValue


@dataclass(frozen=True)
class Steps:
    """Linear warm-up, then a constant rate that drops at shares of the training.

    The warm-up of E epochs gives 1/E in the first and 1 in the last; with `first` it gives that in the first and 1 in the one after.

    With `warmup=5, drops=(0.8, 0.9), factors=(0.01, 0.0001)` over 200 epochs this is LDAM-DRW's published schedule: rate e/5 in the
    1-based epochs 1 to 5, x0.01 after 160 and x0.0001 after 180 epochs. BBN's is `warmup=5, first=1/3, drops=(0.6, 0.8)` with the same
    factors.

    Args:
        warmup: epochs of linear warm-up.
        drops: shares of training after which the rate changes.
        factors: factor on the base rate after each drop.
        first: factor in the first epoch of the warm-up, or None for 1/warmup.
    """

    warmup: int = 0
    drops: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()
    first: float | None = None

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise BadValue(f"a warm-up lasts a number of epochs from 0, got {self.warmup}")
        if self.first is not None and not (0 < self.first <= 1 and self.warmup):
            raise BadValue(f"a warm-up of at least one epoch begins at a factor in (0, 1], got first={self.first}, warmup={self.warmup}")
        if len(self.drops) != len(self.factors) or list(self.drops) != sorted(self.drops):
            raise BadValue(f"a step schedule has one factor for each drop, drops rising, got drops={self.drops}, factors={self.factors}")

    def factor(self, epoch: int, epochs: int) -> float:
        """Give the factor on the learning rate in a 0-based epoch.

        >>> schedule = Steps(5, (0.8, 0.9), (0.01, 0.0001))
        >>> [schedule.factor(e, 200) for e in (0, 4, 159, 160, 180)]
        [0.2, 1.0, 1.0, 0.01, 0.0001]
        >>> [round(Steps(5, first=1 / 3).factor(e, 200), 2) for e in (0, 1, 4, 5)]
        [0.33, 0.47, 0.87, 1.0]
        """
        if epoch < self.warmup:
            return (epoch + 1) / self.warmup if self.first is None else self.first + (1 - self.first) * epoch / self.warmup
        passed = [f for share, f in zip(self.drops, self.factors, strict=True) if epoch >= int(share * epochs + 1e-9)]
        return passed[-1] if passed else 1.0
