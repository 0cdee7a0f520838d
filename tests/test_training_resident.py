"""What spares a GPU its waiting: pictures that stay on the device, and updates of many weights at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from arc2face_training.common.optimisers import MuonAdamW, orthogonalised, split_groups
from arc2face_training.common.resident import ResidentPictures
from arc2face_training.common.sources import DataConfig, RenderedSource, StoredLatents, open_source
from arc2face_training.people import PeopleWorld
from arc2face_training.people.dataset import DatasetConfig, write_dataset

SIZE = 64


@pytest.fixture(scope="module")
def data(world: PeopleWorld, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("resident")
    write_dataset(folder, DatasetConfig(people=2, per_person=3, size=SIZE), processes=1)
    return DataConfig(path=folder, size=SIZE, flip=True)


@pytest.mark.people
def test_batches_from_the_device_are_those_from_the_disk(data: DataConfig) -> None:
    want = ("pixels", "other_pixels", "normals", "identity", "expression", "points")
    drawn = [
        open_source(config).draw(np.random.default_rng(3), 9, want) for config in (data, replace(data, resident=True))
    ]
    assert drawn[0].keys() == drawn[1].keys() == set(want)
    assert all(torch.equal(drawn[0][key], drawn[1][key]) for key in want)


@pytest.mark.people
def test_a_picture_that_was_not_chosen_is_refused(data: DataConfig) -> None:
    source = open_source(data)
    assert isinstance(source, RenderedSource)
    kept = ResidentPictures(source.data.rgb, np.array([1, 4]), torch.device("cpu"))
    assert np.array_equal(kept.take(np.array([4]))[0].permute(1, 2, 0), source.data.rgb[4])
    with pytest.raises(IndexError, match="Picture 2 was not chosen"):
        kept.take(np.array([1, 2]))


@pytest.mark.people
def test_the_identity_comes_from_another_picture_of_the_same_person(data: DataConfig) -> None:
    first, second = open_source(data).choose(np.random.default_rng(0), 200)
    assert (first != second).all() and (first // 3 == second // 3).all()
    assert set(first) == set(second) == set(range(6))


def test_latents_move_to_the_device_whole() -> None:
    plain, mirrored = torch.randn(4, 2, 2, 2).half(), torch.randn(4, 2, 2, 2).half()
    moved = StoredLatents(plain, mirrored).to(torch.device("cpu"))
    rows = moved.take(np.array([2, 0]), torch.tensor([False, True]))
    assert torch.equal(rows, torch.stack([plain[2], mirrored[0]]).float())


def _one_by_one(parameters: Sequence[nn.Parameter], steps: int, rate: float, decay: float) -> list[torch.Tensor]:
    """The same updates written down for one weight after the other; gradients are the weights' cosines."""
    found = []
    for p in (q.detach().clone() for q in parameters):
        mean, square = torch.zeros_like(p), torch.zeros_like(p)
        for step in range(1, steps + 1):
            g = p.cos()
            if p.ndim == 2:
                mean = 0.94 * mean + 0.06 * g
                change = 0.2 * max(p.shape) ** 0.5 * orthogonalised(0.06 * g + 0.94 * mean)
            else:
                mean, square = 0.9 * mean + 0.1 * g, 0.98 * square + 0.02 * g * g
                change = mean / (1 - 0.9**step) / ((square / (1 - 0.98**step)).sqrt() + 1e-8)
            p = p * (1 - rate * decay) - rate * change
        found.append(p)
    return found


def test_updates_of_many_weights_at_once_are_those_of_each_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = ((40, 48), (40, 48), (48, 40), (7,), (5,))
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    wanted = _one_by_one(weights, 4, 0.01, 0.1)
    groups = split_groups([{"params": weights, "lr": 0.01}], {id(p): f"hidden.{k}" for k, p in enumerate(weights)})
    optimiser = MuonAdamW(groups, (0.9, 0.98), 0.1)
    for _ in range(4):
        for p in weights:
            p.grad = p.detach().cos()
        optimiser.step()
    for p, right in zip(weights, wanted, strict=True):
        torch.testing.assert_close(p.detach(), right, rtol=1e-4, atol=1e-5)


def test_a_weight_without_gradient_stays_as_it_is() -> None:
    weights = [nn.Parameter(torch.ones(40, 40)), nn.Parameter(torch.ones(3))]
    optimiser = MuonAdamW(
        split_groups([{"params": weights, "lr": 0.1}], {id(p): "w" for p in weights}), (0.9, 0.9), 0.1
    )
    optimiser.step()
    assert all(bool((p == 1).all()) for p in weights) and not optimiser.state
