"""MiSLAS: a base with mixup, then the classifier learns slowly under one scale per class, on balanced rows with smoothed labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tailwise.losses.label_aware_smoothing import LabelAwareSmoothingLoss
from tailwise.method import About, Card, Learn, Method, Stage, Start, Stream, knob, leaving, method
from tailwise.methods.lws import SCALE, scaled
from tailwise.methods.mixup import MixupMethod
from tailwise.samplers.class_balanced import ClassBalancedSampler


@method(
    Card(
        title="Mixup shifted label-aware smoothing",
        family="decoupled",
        paper="Zhong et al., CVPR 2021",
        arxiv="2104.00466",
        formula="stage 1: CE with mixup; stage 2: -(1 - e_y) log p_y - e_y / (C - 1) sum_{k != y} log p_k of s_k (w_k h + b_k) on "
        "class-balanced rows, e_k = t + (h - t) sin(pi/2 (n_k - n_min) / (n_max - n_min))",
        why="A network that was trained on a long tail is too sure of frequent classes. Mixup calms the features, and in the second "
        "stage a frequent class gives more of its label away than a rare one, while scales even the classifier out.",
        avoid="Where calibration does not matter: crt and lws have fewer settings. Over a base with a head a branch or a normalised head, "
        "which its scales do not fit.",
        needs="a linear head; class counts",
        defaults="h = 0.4, t = 0.1, rate = 0.2 (CIFAR-100, ratio 100), 4 images a class in a row: config/ and train_stage2.py of the "
        "authors; the presets likewise; length of stage 2: the recipe's `second`",
        departs="eps is spread over the other classes, as in the paper, where their code spreads it over all: h and t times (C - 1) / C; "
        "even counts have t, there it divides by 0; places-lt without the pre-trained network of which only the last block learns",
        cost="1 forward; in stage 2 without backward through the backbone",
        presets={
            "cifar10-lt": {"smooth_head": 0.3, "smooth_tail": 0.0, "rate": 0.5, "shift": False},
            "imagenet-lt": {"base": "mixup(imagenet-lt)", "smooth_head": 0.3, "smooth_tail": 0.0, "rate": 0.05},
            "places-lt": {"base": "mixup(places-lt)", "smooth_head": 0.4, "smooth_tail": 0.1, "rate": 0.05},
            "inaturalist": {"base": "mixup(inaturalist)", "smooth_head": 0.3, "smooth_tail": 0.0, "rate": 0.05},
        },
        status="values",
    )
)
@dataclass(frozen=True)
class MiSLAS(Method):
    """Any base with a linear head, by default `mixup`, then a stage with its own recipe.

    tailwise train digits --recipe demo --method mislas
    tailwise compare digits --recipe demo --methods "mixup,mislas,mislas(base=balanced-softmax)"
    """

    smooth_head: float = knob(0.4, low=0.0, high=0.999, help="share of the label that the most frequent class gives away")
    smooth_tail: float = knob(0.1, low=0.0, high=0.999, help="share of the label that the rarest class gives away")
    shape: Literal["concave", "convex"] | float = knob("concave", above=0.0, help="of the shares between the two; or a power, 1 is linear")
    rate: float = knob(0.2, above=0.0, high=1.0, help="of the classifier, times that of its scales")
    shift: bool = knob(True, help="whether BatchNorm of the resting backbone goes on with the balanced rows' statistics")
    per_class: int = knob(4, low=1, help="images taken in a row at a visit to a class")
    base: Method = knob(MixupMethod(), help="the method that trains the network")

    def stages(self, about: About) -> Iterable[Stage]:
        """Yield the base's stages, then the second one.

        Raises:
            Clash: the base leaves no single linear head.
        """
        net = yield from leaving(self.base.stages(about))
        yield Stage(
            criterion=LabelAwareSmoothingLoss(about.counts.real, self.smooth_head, self.smooth_tail, self.shape),
            net=scaled(net, self),
            streams={"main": Stream(sampler=ClassBalancedSampler(self.per_class))},
            learn=(Learn(SCALE), Learn("net.head.*", rate=self.rate)),
            frozen_norm="train" if self.shift else "eval",
            recipe="second",
            start=Start(clock="restart", reset=(SCALE,)),
            name="label-aware smoothing",
        )
