"""The loop: one step after another along a line. It names no method and imports no part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from tailwise import processes
from tailwise.errors import BadValue, Clash
from tailwise.objective import Batch, Clock, Objective, Term
from tailwise.training.joint import Joint, choose_learning, forked, matches, set_modes
from tailwise.training.plan import Leg
from tailwise.training.streams import cut

Gradients = dict[str, Tensor]

NEVER = 2**62
"""A step that never comes."""


class Loop:
    """Training of one stage, and the handle that an objective's `step` and `event` get.

    Attributes:
        joint: network and objective.
        leg: what is trained.
        seed: of the run.
        averaged: name -> averaged tensor of the network and of what learns, where the stage averages; queues and copies are not.
        now: the clock of this step.
        meter: name -> running sum on the device, read once an epoch.
        counted: name -> what this step adds to the meter.
        compute: how a step is computed; `compute_step`, or what launches the same in one piece.

    Where several processes train as one, each works on its share of the batch, and all hold equal bits after every step: gradients and
    losses are averaged over the processes, and so are the statistics of normalisation, which each takes from its own rows.
    """

    def __init__(self, joint: Joint, leg: Leg, seed: int, device: torch.device) -> None:
        self.joint = joint
        self.leg = leg
        self.seed = seed
        self.device = device
        self.chosen = choose_learning(joint, leg.learn)
        self.learning = {name: p for parameters in self.chosen.values() for name, p in parameters.items()}
        self.parts: dict[str, Any] = {"main": leg.recipe.optimiser, **leg.stage.optimisers}
        self.optimisers = self._make_optimisers()
        self.averaged: dict[str, Tensor] = {}
        if leg.stage.average is not None:
            mine = {n: t for n, t in joint.state_dict().items() if n.startswith("net.") or n in self.learning}
            self.averaged = {name: tensor.detach().clone() for name, tensor in mine.items()}
        self.meter: dict[str, Tensor] = {}
        self.counted: dict[str, Tensor] = {}
        self.compute: Callable[[Batch, Clock], dict[str, Tensor]] = self.compute_step
        self._kept: dict[str, Tensor] = {}
        self._never = torch.full((), NEVER, device=device)
        self._stray = self._never
        self._zero = torch.zeros((), device=device)
        set_modes(joint, leg.stage.frozen_norm)

    @property
    def net(self) -> nn.Module:
        """The network."""
        return self.joint.net

    @property
    def objective(self) -> Objective:
        """The objective."""
        return self.joint.objective

    @property
    def rate(self) -> float:
        """The main optimiser's learning rate at this step, before the factors of `Learn`."""
        return self._rate

    def _make_optimisers(self) -> dict[str, torch.optim.Optimizer]:
        groups: dict[str, list[dict[str, Any]]] = {}
        for learn, parameters in self.chosen.items():
            if learn.optimiser not in self.parts:
                raise BadValue(f"{learn.pattern!r} learns with optimiser {learn.optimiser!r}, which the stage does not describe")
            part = self.parts[learn.optimiser]
            decay = part.weight_decay if learn.weight_decay is None else learn.weight_decay
            group = {"params": list(parameters.values()), "lr": part.rate * learn.rate, "weight_decay": decay, "factor": learn.rate}
            groups.setdefault(learn.optimiser, []).append(group)
        return {name: self.parts[name].make(group) for name, group in groups.items()}

    # --- one step -----------------------------------------------------------------------------------------------------

    def run_step(self, batch: Batch, now: Clock) -> None:
        """Make one step: the objective's, then the average, then what settles once a step."""
        self.now = now
        self._set_rate(now)
        with forked(self.seed, "step", now.total, device=self.device), processes.standing_in(now.stands_in):
            if now.step == 0:
                if now.total == self.leg.origin:
                    self.objective.event("stage_start", self)
                self.objective.event("epoch_start", self)
            self._tally(self.compute(batch, now), now)
            if now.step == now.steps - 1:
                self.objective.event("epoch_end", self)

    def compute_step(self, batch: Batch, now: Clock) -> dict[str, Tensor]:
        """Compute all of a step that happens on the device, and give what it counted: sums over its rows by name."""
        self._kept, self.counted = {}, {}
        self.objective.step(self, batch, now)
        self._kept |= self.objective.take_kept()
        self._level_statistics()
        with torch.no_grad():
            joint = {name: processes.gathered(rows) for name, rows in sorted(self._kept.items())}
            self.objective.settle(self.net, joint, now)
        if self.leg.stage.average is not None:
            live = self.joint.state_dict()
            self.leg.stage.average.update(self.averaged, {name: live[name] for name in self.averaged}, now.total - self.leg.base)
        return self.counted

    def _set_rate(self, now: Clock) -> None:
        part = self.leg.recipe.optimiser
        self._rate = part.rate * self.leg.recipe.schedule.factor(now.epoch, now.epochs)
        if "main" in self.optimisers:
            for group in self.optimisers["main"].param_groups:
                rate = self._rate * group["factor"]
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)  # where a recorded step reads it
                else:
                    group["lr"] = rate

    def _level_statistics(self) -> None:
        """Average the running statistics of normalisation over the processes that have rows, so that all hold the same."""
        if processes.count() == 1:
            return
        held = {n: m for n, m in self.joint.named_modules() if m.training and getattr(m, "running_mean", None) is not None}
        kinds = ("running_mean", "running_var", "num_batches_tracked")
        mine = {f"{name}.{kind}": getattr(module, kind) for name, module in held.items() for kind in kinds}
        present = torch.tensor(processes.presence(), device=self.device)
        level = processes.averaged({**{name: present * tensor for name, tensor in mine.items()}, "present": present})
        for name, tensor in mine.items():
            mean = level[name] / level["present"]
            tensor.copy_(mean if tensor.is_floating_point() else mean.round())

    def descend(self, batch: Batch, now: Clock) -> None:
        """Loss, gradient by the stage's rule, clipping, update: the step of almost every method."""

        def compute(statistics: bool) -> Gradients:
            return self.gradients(batch, now, statistics)

        rule = self.leg.stage.gradient
        self.apply(compute(True) if rule is None else rule(compute, self.learning))

    def gradients(self, batch: Batch, now: Clock, statistics: bool = True) -> Gradients:
        """Give the gradients of the whole batch's loss, reduced once, by parameter name.

        Accumulated parts share the denominators of the whole batch: each term's weighted sum is differentiated part by part, and
        divided at the end.

        Args:
            batch: the whole batch.
            now: the clock.
            statistics: whether normalisation statistics, and rows kept for `settle`, may move; False in second passes.
        """
        before = None if statistics else {name: b.clone() for name, b in self.joint.named_buffers()}
        parts = cut(batch, self.leg.recipe.accumulate)
        loss, gradients = self._whole(parts[0], now) if len(parts) == 1 else self._accumulated(parts, now)
        loss, gradients = self._averaged(loss, gradients)
        kept = self.objective.take_kept()
        if before is None:
            self._count("loss", loss * now.rows)
            self._kept |= kept
        else:
            with torch.no_grad():
                for name, buffer in self.joint.named_buffers():
                    buffer.copy_(before[name])
        return gradients

    def _whole(self, batch: Batch, now: Clock) -> tuple[Tensor, Gradients]:
        total = self.reduce(self.terms(batch, now))
        return total.detach(), self._differentiate(total)

    def _accumulated(self, parts: list[Batch], now: Clock) -> tuple[Tensor, Gradients]:
        sums: dict[str, Gradients] = {}
        numerators: dict[str, Tensor] = {}
        denominators: dict[str, Tensor] = {}
        factors: dict[str, float] = {}
        for k, part in enumerate(parts):
            terms = self.terms(part, replace(now, part=k))
            for i, (name, term) in enumerate(terms.items()):
                if term.divisor == "batch":
                    raise BadValue(
                        f"term {name!r} speaks for a whole batch, so it cannot be accumulated over parts; set recipe.accumulate=1"
                    )
                numerator = term.numerator()
                if not term.factor:
                    continue
                numerators[name] = numerators.get(name, 0) + numerator.detach()
                denominators[name] = denominators.get(name, 0) + term.denominator()
                factors[name] = term.factor
                for parameter, g in self._differentiate(numerator, retain=i < len(terms) - 1).items():
                    held = sums.setdefault(name, {})
                    held[parameter] = held[parameter] + g if parameter in held else g
        divisors = self._divisors(denominators)
        reduced = [factors[name] * processes.presence() * (numerators[name] / divisors[name]) for name in divisors]
        gradients: Gradients = {}
        for name, held in sums.items():
            for parameter, g in held.items():
                g = g * (factors[name] * processes.presence() / divisors[name])
                gradients[parameter] = gradients[parameter] + g if parameter in gradients else g
        return sum(reduced[1:], reduced[0]) if reduced else self._zero, gradients

    def _divisors(self, denominators: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give what this process divides its part of each term by, so that the mean over the processes is the term of the whole batch."""
        mine = {name: processes.presence() * denominator for name, denominator in denominators.items()}
        return {name: _divisor(whole) for name, whole in processes.averaged(mine).items()}

    def _averaged(self, loss: Tensor, gradients: Gradients) -> tuple[Tensor, Gradients]:
        """Average a loss and its gradients over the processes; a parameter that no process has a gradient for has none."""
        if processes.count() == 1:
            return loss, gradients
        has = torch.tensor([float(name in gradients) for name in self.learning], device=self.device)
        mine = {name: gradients.get(name, torch.zeros_like(parameter)) for name, parameter in self.learning.items()}
        joint = processes.averaged({**mine, "": loss, "has": has})
        there = [name for name, share in zip(self.learning, joint["has"].tolist(), strict=True) if share]
        return joint[""], {name: joint[name] for name in there}

    def _differentiate(self, scalar: Tensor, retain: bool = False) -> Gradients:
        if not scalar.requires_grad:
            return {}
        gradients = torch.autograd.grad(scalar, list(self.learning.values()), retain_graph=retain, allow_unused=True)
        return {name: g for name, g in zip(self.learning, gradients, strict=True) if g is not None}

    def apply(self, gradients: Gradients, only: str | None = None) -> None:
        """Clip the gradients, and step the optimisers whose parameters have some.

        The network's gradient and that of what an objective learns are clipped each by its own norm: large sums in the one would otherwise
        take the other's step away.

        Args:
            gradients: by parameter name; a parameter without one rests, its momentum and decay too.
            only: the one optimiser to step, or None for all.
        """
        for name, parameter in self.learning.items():
            parameter.grad = _laid_out_as(parameter, gradients.get(name))
        if self.leg.recipe.clip is not None:
            for held in _by_owner(gradients).values():
                nn.utils.clip_grad_norm_([self.learning[name] for name in held], self.leg.recipe.clip)
        for name, optimiser in self.optimisers.items():
            if only in (None, name):
                optimiser.step()
        for parameter in self.learning.values():
            parameter.grad = None

    # --- for objectives whose step is not "loss, backward, update" --------------------------------------------------------

    def terms(self, batch: Batch, now: Clock) -> dict[str, Term]:
        """Run the joint module: the loss of a batch, or of a part of it, not reduced. Dropout draws for this step and part.

        A process's share is a part like any other: its first one comes after all that the processes before it accumulate.
        """
        now = replace(now, part=now.part + processes.rank() * self.leg.recipe.accumulate)
        with forked(self.seed, "forward", now.total, now.part, device=self.device):
            made: dict[str, Term] = self.joint(batch, now)
        return made

    def reduce(self, terms: Mapping[str, Term]) -> Tensor:
        """Reduce terms to a scalar, whose mean over the processes is the loss of the whole batch; a factor of zero leaves a term out."""
        counted = {name: term for name, term in terms.items() if term.factor}
        divisors = self._divisors({name: term.denominator() for name, term in counted.items()})
        reduced = [t.factor * processes.presence() * (t.numerator() / divisors[n]) for n, t in counted.items()]
        return sum(reduced[1:], reduced[0]) if reduced else self._zero

    def parameters(self, optimiser: str = "main") -> dict[str, nn.Parameter]:
        """Give the learning parameters of one optimiser, by name."""
        return {n: p for learn, held in self.chosen.items() if learn.optimiser == optimiser for n, p in held.items()}

    def virtual(self, parameters: Mapping[str, Tensor]) -> Callable[..., Any]:
        """Give the network at other parameters, named `net.*`; its buffers are copies, so statistics do not move.

        Attention is computed in its plain form, since the fused ones have no second derivative.
        """
        inner = {name.removeprefix("net."): tensor for name, tensor in parameters.items() if name.startswith("net.")}
        buffers = {name: b.clone() for name, b in self.net.named_buffers()}

        def there(*inputs: Any) -> Any:
            with sdpa_kernel(SDPBackend.MATH):
                return functional_call(self.net, {**buffers, **inner}, inputs)

        return there

    def slopes(self, scalar: Tensor, optimiser: str = "main") -> Gradients:
        """Give the gradients of a reduced loss in an optimiser's parameters, over all processes, to be differentiated once more.

        A parameter that the loss does not reach has none.
        """
        held = self.parameters(optimiser)
        made = torch.autograd.grad(scalar, list(held.values()), create_graph=True, allow_unused=True)
        return processes.averaged({name: g for name, g in zip(held, made, strict=True) if g is not None})

    def ahead(self, slopes: Gradients, optimiser: str = "main", plain: bool = False) -> dict[str, Tensor]:
        """Give an optimiser's parameters as its next step along these slopes would leave them; nothing moves.

        Args:
            slopes: from `slopes`; differentiable in them. A parameter without one rests, as in `apply`.
            optimiser: whose step; its momentum, decay and the recipe's clipping are those of a real one.
            plain: whether to go down the slopes by the learning rate alone.

        Raises:
            Clash: an optimiser that cannot look ahead.
        """
        part, clip = self.parts[optimiser], self.leg.recipe.clip
        if not plain and not hasattr(part, "ahead"):
            raise Clash(f"{type(part).__name__} has no `ahead`, so no step of it can be differentiated; take SGD, Adam or AdamW")
        if clip is not None and not plain:
            slopes = {name: g for held in _by_owner(slopes).values() for name, g in _clipped(held, clip).items()}
        names = {parameter: name for name, parameter in self.learning.items()}
        made: dict[str, Tensor] = {}
        for group in self.optimisers[optimiser].param_groups:
            for p in group["params"]:
                name, slots = names[p], self.optimisers[optimiser].state.get(p, {})
                g = slopes.get(name)
                if g is None:
                    made[name] = p
                else:
                    made[name] = p - group["lr"] * g if plain else part.ahead(p, g, slots, group["lr"], group["weight_decay"])
        return made

    def update(self, scalar: Tensor, optimiser: str) -> None:
        """Differentiate a scalar, step one optimiser by the mean over the processes, and log the scalar under the optimiser's name."""
        held = self.parameters(optimiser)
        made = torch.autograd.grad(scalar, list(held.values()), allow_unused=True)
        gradients = {name: g for name, g in zip(held, made, strict=True) if g is not None}
        loss, gradients = self._averaged(scalar.detach(), gradients)
        self._count(f"loss.{optimiser}", loss * self.now.rows)
        self.apply(gradients, only=optimiser)

    # --- state ----------------------------------------------------------------------------------------------------------

    def _count(self, name: str, value: Tensor) -> None:
        self.counted[name] = self.counted[name] + value if name in self.counted else value

    def _tally(self, counted: Mapping[str, Tensor], now: Clock) -> None:
        """Add what a step counted to the meter, and remember the first step at which it was not finite; nobody waits."""
        here = torch.full((), now.total, device=self.device)
        for value in counted.values():
            self._stray = torch.minimum(self._stray, torch.where(value.isfinite(), self._never, here))
        for name, value in {**counted, "rows": torch.full((), float(now.rows), device=self.device)}.items():
            self.meter[name] = self.meter[name] + value if name in self.meter else value.clone()

    @property
    def stray(self) -> int | None:
        """The first step, counted from the root, whose loss was not finite; None while all are. Synchronises with the device."""
        first = int(self._stray)
        return None if first == NEVER else first

    def unsound(self) -> str | None:
        """Name a tensor of the state that is no longer sound: not finite where it learns, NaN anywhere. Synchronises with the device."""
        for name, tensor in self.tensors():
            if tensor.is_floating_point() and not name.startswith("meter/"):
                learns = name in self.learning or "/" in name  # a buffer of an objective's may begin at infinity
                if bool((~tensor.isfinite()).any() if learns else tensor.isnan().any()):
                    return name
        return None

    def read_meter(self) -> dict[str, float]:
        """Read and clear the running means of the epoch: the one synchronisation with the device."""
        rows = float(self.meter["rows"])
        counted = sorted(self.meter.items())  # a resumed run has them in another order
        means = {name: float(value) / rows for name, value in counted if name != "rows"}
        self.meter = {}
        return means

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all state by name: network, objective, optimisers' slots, average, meter."""
        yield from self.joint.state_dict().items()
        for name, optimiser in self.optimisers.items():
            for parameter, slot, tensor in self._slots(optimiser):
                yield f"opt/{name}/{parameter}/{slot}", tensor
        yield from ((f"average/{name}", tensor) for name, tensor in self.averaged.items())
        yield from ((f"meter/{name}", tensor) for name, tensor in self.meter.items())

    def _slots(self, optimiser: torch.optim.Optimizer) -> Iterator[tuple[str, str, Tensor]]:
        for parameter_name, parameter in self.learning.items():
            for slot, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    yield parameter_name, slot, value

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a state of this line, whole."""
        self.joint.load_state_dict({n: t for n, t in tensors.items() if "/" not in n}, strict=True)
        self._take(tensors, reset=())
        self.meter = {n.removeprefix("meter/"): t.clone().to(self.device) for n, t in tensors.items() if n.startswith("meter/")}

    def go_on(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up optimisers' slots and averages of the state before, where this stage has them too and does not reset them."""
        self._take(tensors, self.leg.stage.start.reset)

    def _take(self, tensors: Mapping[str, Tensor], reset: tuple[str, ...]) -> None:
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "opt":
                optimiser, parameter, slot = rest.split("/")
                held = self.parameters(optimiser).get(parameter) if optimiser in self.optimisers else None
                if held is not None and not matches(parameter, reset):
                    self.optimisers[optimiser].state[held][slot] = _laid_out_as(held, tensor.clone().to(_slot_device(slot, self.device)))
            elif kind == "average" and rest in self.averaged and not matches(rest, reset):
                self.averaged[rest].copy_(tensor)


def _laid_out_as(parameter: Tensor, tensor: Tensor | None) -> Tensor | None:
    """Bring a gradient, or a slot of a parameter, into the parameter's memory layout, which fused updates ask for."""
    if tensor is None or tensor.shape != parameter.shape or tensor.stride() == parameter.stride():
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)


def _slot_device(slot: str, device: torch.device) -> torch.device:
    """Say where a slot lives: torch's optimisers keep their step counters on the host."""
    return torch.device("cpu") if slot == "step" else device


def _by_owner(gradients: Gradients) -> dict[str, Gradients]:
    """Part gradients into the network's and those of what an objective learns, by the first word of their names."""
    held: dict[str, Gradients] = {}
    for name, g in gradients.items():
        held.setdefault(name.partition(".")[0], {})[name] = g
    return held


def _clipped(gradients: Gradients, limit: float) -> Gradients:
    """Scale gradients, all by one factor, so that their joint norm is at most the limit; differentiable in them."""
    norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().clamp_min(1e-30).sqrt()
    return {name: g * (limit / (norm + 1e-6)).clamp_max(1.0) for name, g in gradients.items()}


def _divisor(denominator: Tensor) -> Tensor:
    """Guard against a batch all of whose weights are zero: its loss is zero, not NaN."""
    return denominator.clamp_min(torch.finfo(denominator.dtype).tiny)
