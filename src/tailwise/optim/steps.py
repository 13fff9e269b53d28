"""Step schedule with warm-up."""

from __future__ import annotations

from dataclasses import dataclass

from tailwise.errors import BadValue


@dataclass(frozen=True)
class Steps:
    """Linear warm-up, then a constant rate that drops at shares of the training.

    With `warmup=5, drops=(0.8, 0.9), factors=(0.01, 0.0001)` over 200 epochs this is LDAM-DRW's published schedule: rate e/5 in the
    1-based epochs 1 to 5, x0.01 after 160 and x0.0001 after 180 epochs.

    Args:
        warmup: epochs of linear warm-up.
        drops: shares of training after which the rate changes.
        factors: factor on the base rate after each drop.
    """

    warmup: int = 0
    drops: tuple[float, ...] = ()
    factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise BadValue(f"a warm-up lasts a number of epochs from 0, got {self.warmup}")
        if len(self.drops) != len(self.factors) or list(self.drops) != sorted(self.drops):
            raise BadValue(f"a step schedule has one factor for each drop, drops rising, got drops={self.drops}, factors={self.factors}")

    def factor(self, epoch: int, epochs: int) -> float:
        """Give the factor on the learning rate in a 0-based epoch.

        >>> schedule = Steps(5, (0.8, 0.9), (0.01, 0.0001))
        >>> [schedule.factor(e, 200) for e in (0, 4, 159, 160, 180)]
        [0.2, 1.0, 1.0, 0.01, 0.0001]
        """
        if epoch < self.warmup:
            return (epoch + 1) / self.warmup
        passed = [f for share, f in zip(self.drops, self.factors, strict=True) if epoch >= int(share * epochs + 1e-9)]
        return passed[-1] if passed else 1.0
