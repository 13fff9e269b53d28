"""Recipes: the published values, the shares of training, and what is refused."""

import dataclasses

import pytest

from tailwise.errors import BadValue
from tailwise.method import Learn
from tailwise.optim import SGD, AdamW, Constant, Cosine, Steps
from tailwise.pixels.augment import ColourJitter, Flip, PadCrop, ResizedCrop
from tailwise.recipe import Recipe
from tailwise.registry import entries, load
from tailwise.specification import spec

NAMES = list(entries("recipe"))
EACH = pytest.mark.parametrize("name", NAMES)


def recipe(**fields) -> Recipe:
    return Recipe(
        **{"name": "toy", "net": "resnet8", "epochs": 10, "batch_size": 8, "optimiser": SGD(0.1), "schedule": Constant(), **fields}
    )


def test_there_are_recipes():
    assert {"cifar", "demo", "quick", "head", "finetune", "imagenet"} <= set(NAMES)


@EACH
def test_a_recipe_is_called_like_its_file(name):
    assert load("recipe", name).name == name


@EACH
def test_every_value_of_a_recipe_has_its_source(name):
    made = load("recipe", name)
    fields = {f.name: f for f in dataclasses.fields(Recipe)}
    assert set(made.sources) <= set(fields)
    set_here = {n for n, f in fields.items() if f.default is dataclasses.MISSING or getattr(made, n) != f.default}
    assert set_here - {"name", "sources"} <= set(made.sources)
    assert all(made.sources.values())


@EACH
def test_a_recipe_can_be_described_its_names_apart(name):
    made = load("recipe", name)
    assert spec(made) == spec(dataclasses.replace(made, name="other", net="other", sources={}, second=None, cuts=()))
    assert spec(made) != spec(dataclasses.replace(made, epochs=made.epochs + 1))


@pytest.mark.reference
def test_cifar_is_the_published_protocol():
    """The table of LDAM-DRW's cifar_train.py in the protocols of the field."""
    made = load("recipe", "cifar")
    assert (made.net, made.epochs, made.batch_size, made.image_size) == ("resnet32", 200, 128, 32)
    assert made.optimiser == SGD(rate=0.1, momentum=0.9, weight_decay=2e-4, nesterov=False)
    assert made.augment == (PadCrop(4, "zeros"), Flip(0.5))
    assert made.normalise.mean == (0.4914, 0.4822, 0.4465)
    assert made.normalise.std == (0.2023, 0.1994, 0.2010)
    assert (made.clip, made.accumulate) == (None, 1)
    rates = {epoch: 0.1 * made.schedule.factor(epoch, 200) for epoch in (0, 4, 5, 159, 160, 179, 180, 199)}
    expected = {0: 0.02, 4: 0.1, 5: 0.1, 159: 0.1, 160: 1e-3, 179: 1e-3, 180: 1e-5, 199: 1e-5}
    assert rates == pytest.approx(expected, rel=1e-12)


def test_the_demo_is_the_one_that_was_measured():
    made = load("recipe", "demo")
    assert (made.net, made.epochs, made.batch_size) == ("resnet8", 40, 32)
    assert made.augment == (PadCrop(1, "edge"),)
    assert [round(made.schedule.factor(e, 40), 6) for e in (0, 4, 31, 32, 35, 36)] == [0.2, 1.0, 1.0, 0.1, 0.1, 0.01]
    assert (made.part("second").epochs, made.part("second").schedule) == (4, Cosine())


@pytest.mark.reference
def test_imagenet_is_the_survey_s_benchmark():
    """Zhang et al., TPAMI 2023: ResNeXt-50, 90 epochs, batches of 256, rate 0.1, decay 5e-4, cosine; Kang et al.'s augmentation."""
    made = load("recipe", "imagenet")
    assert (made.net, made.epochs, made.batch_size, made.image_size) == ("resnext50_32x4d", 90, 256, 224)
    assert made.optimiser == SGD(rate=0.1, momentum=0.9, weight_decay=5e-4, nesterov=False)
    assert made.schedule == Cosine()
    assert made.augment == (ResizedCrop(smallest=0.08), Flip(0.5), ColourJitter(0.4, 0.4, 0.4))
    assert (made.normalise.mean, made.normalise.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (made.pretrained, made.frozen) == (False, False)
    second = made.part("second")
    assert (second.epochs, second.optimiser, second.batch_size) == (10, made.optimiser, 256)


def test_head_trains_nothing_but_a_head():
    made = load("recipe", "head")
    assert (made.net, made.pretrained, made.frozen, made.image_size) == ("efficientnet-lite0", True, True, 160)
    assert (made.epochs, made.batch_size, made.least_steps, made.part("second").epochs) == (30, 128, 12, 10)
    assert isinstance(made.optimiser, AdamW)
    assert made.augment == ()  # features are computed once
    assert made.normalise is None  # the network's own


def test_a_frozen_network_takes_no_augmentation():
    with pytest.raises(BadValue, match="reads each image once"):
        dataclasses.replace(load("recipe", "head"), augment=(Flip(),))


def test_finetune_trains_all_of_a_pre_trained_network_and_its_head_faster():
    made = load("recipe", "finetune")
    assert (made.net, made.pretrained, made.frozen, made.image_size) == ("efficientnet-lite0", True, False, 160)
    assert (made.epochs, made.batch_size, made.least_steps, made.clip) == (10, 32, 12, 1.0)
    assert made.learn == (Learn("net.head.*", rate=10.0), Learn())
    assert made.normalise is None
    second = made.part("second")
    assert second.optimiser.rate == pytest.approx(10 * made.optimiser.rate)  # a second stage's head, at the rate of the first's
    assert second.learn == made.learn


# --- a batch that fits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "batch", "least", "expected"),
    [
        (100_000, 128, 12, 128),
        (1536, 128, 12, 128),  # twelve steps
        (1409, 128, 12, 128),  # eleven of 128 and one of a single row
        (1408, 128, 12, 64),  # eleven
        (705, 128, 12, 64),
        (704, 128, 12, 32),
        (200, 128, 12, 16),  # 13 steps; 32 would give 7
        (60, 128, 12, 8),  # 8 steps, and it goes no lower
        (1, 128, 12, 8),
        (1, 128, 1, 128),  # one step is enough
        (10, 4, 12, 4),  # a batch that is small already stays
        (10, 100, 12, 8),  # 100, 50, 25, 12, 8
        (144, 100, 12, 12),
    ],
)
def test_a_batch_is_halved_until_an_epoch_has_steps_enough(rows, batch, least, expected):
    assert recipe(batch_size=batch, least_steps=least).fit_batch(rows).batch_size == expected


def test_the_recipe_inside_is_fitted_by_its_own_batch_and_the_rest_stays():
    inner = recipe(batch_size=64, least_steps=4)
    made = recipe(batch_size=128, least_steps=2, second=inner, accumulate=4)
    fitted = made.fit_batch(100)
    assert (fitted.batch_size, fitted.second.batch_size) == (64, 32)
    assert dataclasses.replace(fitted, batch_size=128, second=inner) == made
    assert recipe(batch_size=128, least_steps=2).fit_batch(100).second is None


@EACH
def test_every_recipe_has_a_second_one_of_its_own_length(name):
    made = load("recipe", name)
    inner = made.part("second")
    assert isinstance(inner, Recipe)
    assert inner.second is None
    assert inner.epochs < made.epochs
    assert made.part(None) is made


def test_a_recipe_without_a_second_one_says_so():
    with pytest.raises(BadValue, match="no recipe 'second' inside") as refused:
        recipe().part("second")
    assert "\n" not in str(refused.value)
    with pytest.raises(BadValue, match="no recipe 'epochs' inside"):
        recipe().part("epochs")


def test_states_are_kept_at_drops_cuts_and_the_end():
    assert recipe().shares() == (0.8, 1.0)
    assert recipe(schedule=Steps(0, (0.6, 0.8), (0.1, 0.01)), cuts=(0.5, 0.8)).shares() == (0.5, 0.6, 0.8, 1.0)


@pytest.mark.parametrize(
    ("share", "epochs", "epoch"), [(0.8, 200, 160), (0.9, 200, 180), (0.8, 7, 5), (0.29, 100, 29), (0.7, 10, 7), (1.0, 30, 30)]
)
def test_a_share_is_the_epoch_that_begins_there(share, epochs, epoch):
    assert recipe(epochs=epochs).epoch_at(share) == epoch


@pytest.mark.parametrize("epochs", range(1, 60))
def test_a_share_and_a_drop_mean_the_same_epoch(epochs):
    """Deferred re-weighting starts with the rate's drop, not an epoch beside it."""
    for share in (0.6, 0.7, 0.8, 0.9):
        factors = [Steps(0, (share,), (0.1,)).factor(epoch, epochs) for epoch in range(epochs)]
        assert factors.index(0.1) == recipe(epochs=epochs).epoch_at(share)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"epochs": 0}, "recipe.epochs"),
        ({"batch_size": 0}, "recipe.batch_size"),
        ({"accumulate": 0}, "recipe.accumulate"),
        ({"threads": 0}, "recipe.threads"),
        ({"least_steps": 0}, "recipe.least_steps"),
        ({"image_size": 0}, "recipe.image_size"),
        ({"accumulate": 9}, "recipe.accumulate"),
        ({"clip": 0.0}, "recipe.clip"),
        ({"clip": -1.0}, "recipe.clip"),
    ],
)
def test_impossible_recipes_are_refused_in_one_line(fields, named):
    with pytest.raises(BadValue, match=named) as refused:
        recipe(**fields)
    assert "\n" not in str(refused.value)
