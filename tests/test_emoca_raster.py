"""The rasteriser against PyTorch3D's recorded results, and its rules one by one."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

import arc2face_emoca as emoca
from tests.recipe3d import golden

SCENES = [str(name) for name in golden("raster_unit")["names"]]
POSES = [str(name) for name in golden("emoca_decode")["names"]]


def triangle(*points: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float32)


@pytest.mark.parametrize("name", SCENES)
def test_scene_is_identical_to_pytorch3d(name: str) -> None:
    recorded = golden("raster_unit")
    faces = torch.from_numpy(recorded[f"{name}_faces"].astype(np.int64))
    wanted = recorded[f"{name}_pix_to_face"]
    found = emoca.rasterize(torch.from_numpy(recorded[f"{name}_verts"]), faces, wanted.shape[0])
    assert np.array_equal(found.pix_to_face.numpy(), wanted)
    assert np.array_equal(found.zbuf.numpy(), recorded[f"{name}_zbuf"])
    assert np.array_equal(found.bary.numpy(), recorded[f"{name}_bary"])


@pytest.mark.parametrize("index", range(len(POSES)), ids=POSES)
def test_head_is_identical_to_pytorch3d(index: int) -> None:
    recorded = golden("emoca_decode")
    faces = torch.from_numpy(recorded["faces"].astype(np.int64))
    found = emoca.rasterize(torch.from_numpy(recorded["trans_verts"][index]), faces, 512, frame="image")
    rows, columns = recorded["samp_yx"][index].astype(int).T
    assert np.array_equal(found.pix_to_face.numpy(), recorded["pix_to_face"][index])
    assert np.array_equal(found.bary.numpy()[rows, columns], recorded["samp_bary"][index])
    assert np.array_equal(found.zbuf.numpy()[rows, columns], recorded["samp_z"][index])


def test_batch_equals_one_by_one() -> None:
    recorded = golden("raster_unit")
    verts = torch.from_numpy(recorded["random_soup_verts"])
    faces = torch.from_numpy(recorded["random_soup_faces"])
    many = emoca.rasterize(torch.stack([verts, verts * 0.5]), faces, 64)
    for index, mesh in enumerate((verts, verts * 0.5)):
        alone = emoca.rasterize(mesh, faces, 64)
        assert torch.equal(many.pix_to_face[index], alone.pix_to_face)
        assert torch.equal(many.bary[index], alone.bary)


def test_lower_face_wins_at_equal_depth() -> None:
    verts = triangle((-0.9, -0.9, 1), (0.9, -0.9, 1), (0.0, 0.8, 1), (0.1, 0.1, 2), (0.2, 0.1, 2), (0.1, 0.2, 2))
    faces = torch.tensor([[3, 4, 5], [0, 1, 2], [3, 4, 5], [0, 1, 2]])
    assert set(emoca.rasterize(verts, faces, 64).pix_to_face.unique().tolist()) == {-1, 1}
    behind = verts * torch.tensor([1.0, 1.0, -1.0]) + torch.tensor([0.0, 0.0, 3.0])  # now the small one is nearer
    assert set(emoca.rasterize(behind, faces, 64).pix_to_face.unique().tolist()) == {-1, 0, 1}


def test_frames_mirror_each_other() -> None:
    verts = triangle((-0.9, -0.8, 1), (-0.1, -0.7, 1), (-0.5, 0.1, 1))
    face = torch.tensor([[0, 1, 2]])
    upper_left = emoca.rasterize(verts, face, 16, frame="image").pix_to_face
    lower_right = emoca.rasterize(verts, face, 16).pix_to_face
    assert bool((upper_left[:8, :8] == 0).any())
    assert torch.equal(upper_left, lower_right.flip(0, 1))


def test_picture_that_is_not_square() -> None:
    verts = triangle((-2.0, -1.0, 1), (0.0, -1.0, 1), (-2.0, 1.0, 1), (0.0, 1.0, 1))
    found = emoca.rasterize(verts, torch.tensor([[0, 1, 2], [3, 2, 1]]), (8, 16))
    assert found.pix_to_face.shape == (8, 16)
    covered = found.pix_to_face >= 0  # the shorter side spans -1 to 1, the longer one -2 to 2; +x is left
    assert bool((covered.sum(0)[8:] >= 7).all())  # centres on the shared diagonal belong to neither
    assert not bool(covered[:, :8].any())


def test_empty_and_invisible_meshes() -> None:
    nothing = emoca.rasterize(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64), 8)
    assert bool((nothing.pix_to_face == -1).all())
    broken = triangle((float("nan"), 0, 1), (1, 0, 1), (0, 1, 1))
    for verts in (triangle((5, 5, 1), (6, 5, 1), (5, 6, 1)), triangle((0, 0, -1), (1, 0, -1), (0, 1, -1)), broken):
        assert bool((emoca.rasterize(verts, torch.tensor([[0, 1, 2]]), 8).pix_to_face == -1).all())


def test_very_large_triangles_stay_within_memory() -> None:
    verts = triangle((-1e4, -1e4, 1), (1e4, -1e4, 1), (0, 2e4, 1)).repeat(20, 1)
    faces = torch.arange(60).view(20, 3)
    assert bool((emoca.rasterize(verts, faces, 256).pix_to_face == 0).all())


@pytest.mark.parametrize(
    ("verts", "faces", "size"),
    [
        (torch.zeros(4, 2), torch.tensor([[0, 1, 2]]), 8),
        (torch.zeros(4, 3), torch.tensor([[0, 1]]), 8),
        (torch.zeros(4, 3), torch.tensor([[0, 1, 4]]), 8),
        (torch.zeros(4, 3), torch.tensor([[0, 1, 2]]), 0),
    ],
)
def test_wrong_arguments_are_named(verts: torch.Tensor, faces: torch.Tensor, size: int) -> None:
    with pytest.raises(emoca.UsageError):
        emoca.rasterize(verts, faces, size)


def test_missing_pytorch3d_is_explained() -> None:
    if find_spec("pytorch3d") is not None:
        pytest.skip("pytorch3d is installed")
    with pytest.raises(emoca.UsageError, match=r"requirements_controlnet\.txt"):
        emoca.rasterize(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), 8, backend="pytorch3d")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu() -> None:
    recorded = golden("emoca_decode")
    faces = torch.from_numpy(recorded["faces"].astype(np.int64))
    verts = torch.from_numpy(recorded["trans_verts"])
    found = emoca.rasterize(verts.cuda(), faces.cuda(), 512, frame="image").pix_to_face.cpu().numpy()
    assert int((found != recorded["pix_to_face"]).sum()) <= 10


def test_vertex_normals_of_a_tetrahedron_point_outwards() -> None:
    verts = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = emoca.vertex_normals(verts[None], faces)[0]
    outwards = verts - verts.mean(0)
    assert bool(((normals * outwards).sum(1) > 0).all())
    assert torch.allclose(normals.norm(dim=1), torch.ones(4))
