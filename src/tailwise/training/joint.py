"""The joint module of network and objective: how it is made, what is carried into it, what learns, what wakes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from tailwise import seeds
from tailwise.errors import BadValue, Clash
from tailwise.method import About, Learn, Start
from tailwise.objective import Batch, Clock, Objective, Part, Term


class Joint(nn.Module):
    """Network and objective as one module; its forward is the loss."""

    def __init__(self, net: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.net = net
        self.objective = objective

    def forward(self, batch: Batch, now: Clock) -> dict[str, Term]:
        """Give the terms of the loss by name."""
        made = self.objective.loss(self.net, batch, now)
        return {"loss": made} if isinstance(made, Term) else dict(made)


@contextlib.contextmanager
def forked(seed: int, *purpose: seeds.Word, device: torch.device | None = None) -> Iterator[None]:
    """Run under torch generators seeded for one purpose, and leave the caller's untouched.

    While a step is recorded for a CUDA device nothing is drawn, and generators must stay: who repeats the step seeds them for it.
    """
    kind = "cpu" if device is None else device.type
    if kind == "cuda" and torch.cuda.is_current_stream_capturing():
        yield
        return
    number = seeds.torch_seed(seed, *purpose)
    index = (torch.cuda.current_device() if device is None or device.index is None else device.index) if kind == "cuda" else 0
    on_mps = torch.mps.get_rng_state() if kind == "mps" else None
    with torch.random.fork_rng(devices=[index] if kind == "cuda" else []):
        torch.default_generator.manual_seed(number)  # torch.manual_seed would reach the caller's other devices
        if kind == "cuda":
            torch.cuda.default_generators[index].manual_seed(number)
        if on_mps is not None:
            torch.mps.manual_seed(number)
        try:
            yield
        finally:
            if on_mps is not None:
                torch.mps.set_rng_state(on_mps)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Say whether a tensor's name fits one of the shell-style patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def initialise(net: nn.Module, seed: int, step: int, prefix: str = "net") -> None:
    """Draw a network's values: those of each module are a function of seed, module name and step."""
    for name, module in net.named_modules(prefix=prefix):
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            with forked(seed, "init", name, step):
                reset()


def carry_network(net: nn.Module, earlier: Mapping[str, Tensor], start: Start) -> None:
    """Copy an earlier network's tensors into a fresh one, by name; what `start.reset` names stays fresh.

    Args:
        net: freshly initialised.
        earlier: tensors of a state; those called `net.*` count.
        start: of the stage.

    Raises:
        Clash: a tensor that is neither carried nor reset, or one of another shape, or an earlier one that nothing takes up.
    """
    mine = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    unused = [p for p in start.reset if p.startswith("net") and not any(fnmatchcase(n, p) for n in mine)]
    if unused:
        raise Clash(f"a stage resets {unused[0]!r}, and no tensor of the network is called so; it has {_some(mine)}")
    for name, tensor in mine.items():
        if matches(name, start.reset):
            continue
        if name not in earlier:
            raise Clash(f"tensor {name} is new in this stage: carry it from an earlier network, or name it in Start(reset=...)")
        if earlier[name].shape != tensor.shape:
            raise Clash(f"tensor {name} was {tuple(earlier[name].shape)}, here {tuple(tensor.shape)}: name it in Start(reset=...)")
        tensor.copy_(earlier[name])
    lost = [n for n in earlier if n.startswith("net.") and n not in mine and not matches(n, start.drop)]
    if lost:
        raise Clash(f"tensor {lost[0]} of the earlier network has no place here: keep the network, or name it in Start(drop=...)")


def owners(objective: nn.Module) -> dict[str, str]:
    """Name the part that owns each tensor of an objective: full name -> class of the nearest part, and the rest of the name."""
    return {f"objective.{name}": _owner(objective, name) for name in objective.state_dict()}


def _owner(objective: nn.Module, name: str) -> str:
    module, owner, rest = objective, objective, name
    steps = name.split(".")
    for depth, step in enumerate(steps[:-1], start=1):
        module = getattr(module, step)
        if isinstance(module, Part):
            owner, rest = module, ".".join(steps[depth:])
    return f"{type(owner).__module__}:{type(owner).__qualname__} {rest}"


def moves(before: Mapping[str, str], here: Mapping[str, str]) -> dict[str, str]:
    """Find the tensors of an earlier objective again: name before -> name here.

    A tensor stays where its name and its owner stay. What is left is matched by owner, in order: so what a criterion has learnt is
    found when a wrapper moves it inwards, and equal names of unlike parts are kept apart.

    Args:
        before: `owners` of the objective before.
        here: `owners` of this one.
    """
    moved = {name: name for name, owner in before.items() if here.get(name) == owner}
    for owner in dict.fromkeys(before.values()):
        left = [name for name in before if before[name] == owner and name not in moved]
        free = [name for name in here if here[name] == owner and name not in moved.values()]
        if len(left) == len(free):
            moved |= dict(zip(left, free, strict=True))
    return moved


def rename(tensors: Mapping[str, Tensor], moved: Mapping[str, str]) -> dict[str, Tensor]:
    """Give a state's slots and averages under the names that their parameters have here; what has no place here is left out."""
    renamed = {}
    for name, tensor in tensors.items():
        inner = name.split("/")[2] if name.startswith("opt/") else name.removeprefix("average/")
        if not inner.startswith("objective."):
            renamed[name] = tensor
        elif inner in moved:
            renamed[name.replace(inner, moved[inner])] = tensor
    return renamed


def carry_objective(objective: nn.Module, earlier: Mapping[str, Tensor], moved: Mapping[str, str], start: Start) -> None:
    """Copy what an earlier objective learnt; an objective's new tensors stay as `build` made them.

    Args:
        objective: built.
        earlier: tensors of the state before.
        moved: from `moves`.
        start: of the stage; its `carry` also takes tensors from elsewhere, a teacher from the network before for instance.

    Raises:
        Clash: a tensor of the same name and another shape.
    """
    found = {moved[name]: tensor for name, tensor in earlier.items() if name in moved}
    for source, target in start.carry:
        found |= {target + n.removeprefix(source): t for n, t in earlier.items() if n.startswith(source)}
    for name, tensor in objective.state_dict().items():
        full = f"objective.{name}"
        if full in found and not matches(full, start.reset):
            if found[full].shape != tensor.shape:
                raise Clash(f"tensor {full} was {tuple(found[full].shape)}, here {tuple(tensor.shape)}: name it in Start(reset=...)")
            tensor.copy_(found[full])


def build_objective(joint: Joint, about: About, seed: int, step: int) -> None:
    """Let the objective make what needs the network's widths, seeded, with the network in eval mode."""
    joint.net.eval()
    with forked(seed, "build", step):
        joint.objective.build(joint.net, about)


def choose_learning(joint: Joint, learn: Iterable[Learn]) -> dict[Learn, dict[str, nn.Parameter]]:
    """Assign each parameter to the first pattern that matches it, and let all others rest.

    What the objective froze in `build` (a teacher, a momentum copy) is never woken.

    Raises:
        BadValue: a pattern that matches no parameter.
    """
    learn = tuple(learn)
    chosen: dict[Learn, dict[str, nn.Parameter]] = {entry: {} for entry in learn}
    named = {n: p for n, p in joint.named_parameters() if p.requires_grad}
    for name, parameter in named.items():
        entry = next((entry for entry in learn if fnmatchcase(name, entry.pattern)), None)
        parameter.requires_grad_(entry is not None)
        if entry is not None:
            chosen[entry][name] = parameter
    for entry, parameters in chosen.items():
        if not parameters:
            raise BadValue(f"no parameter is called {entry.pattern!r}; the stage has {_some(named)}")
    return chosen


def set_modes(module: nn.Module, frozen_norm: str, learning: bool = True) -> None:
    """Set train and eval modes: a part none of whose parameters learn rests in eval mode, dropout included.

    With `frozen_norm="train"` its normalisation goes on with the batch's statistics and moves the stored ones.
    """
    own = list(module.parameters())
    learning = any(p.requires_grad for p in own) if own else learning
    keeps_statistics = getattr(module, "running_mean", None) is not None
    module.training = learning or (keeps_statistics and frozen_norm == "train")
    for child in module.children():
        set_modes(child, frozen_norm, learning)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
