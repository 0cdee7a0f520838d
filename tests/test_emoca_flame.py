"""The head, the camera and the final picture against the original code's recorded results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import arc2face_emoca as emoca
from tests.recipe3d import flame_arrays, geometry, golden


def tensors(*names: str, source: str) -> list[torch.Tensor]:
    return [torch.from_numpy(golden(source)[name]) for name in names]


def decode(model: emoca.Emoca, codes: dict[str, Any], size: int | tuple[int, int]) -> emoca.Decoded:
    return model.decode(codes["shapecode"], codes["expcode"], codes["posecode"], codes["cam"], codes["tform"], size)


def check_pictures(found: emoca.Decoded, recorded: dict[str, np.ndarray]) -> None:
    """The stated tolerances: 10 pixels with another face, 0.05 % off by one level, 20 off by more."""
    faces, pictures = recorded["pix_to_face"].reshape(-1, 512, 512), recorded["cond_u8"].reshape(-1, 512, 512, 3)
    own = found.pix_to_face.numpy()
    assert ((own != faces).sum((1, 2)) <= 10).all()
    assert (((own >= 0) != (faces >= 0)).sum((1, 2)) <= 10).all()
    off = np.abs(found.normal_map.numpy().astype(int) - pictures).max(axis=3)
    assert ((off == 1).mean((1, 2)) <= 0.0005).all()
    assert ((off > 1).sum((1, 2)) <= 20).all()


def test_vertices() -> None:
    shape, expression, pose, wanted = tensors(
        "flame_shape", "flame_exp", "flame_pose", "flame_verts", source="emoca_encode_flame"
    )
    found = emoca.FlameLayer(geometry())(shape, expression, pose)
    assert float((found - wanted).abs().max()) < 1e-6


def test_rest_pose_without_codes_is_the_template() -> None:
    layer = emoca.FlameLayer(geometry())
    found = layer(torch.zeros(2, 100), torch.zeros(2, 50), torch.zeros(2, 6))
    assert torch.allclose(found, geometry().v_template.expand(2, -1, -1), atol=1e-7)


def test_global_rotation_turns_about_the_root_joint() -> None:
    layer = emoca.FlameLayer(geometry())
    shaped = geometry().v_template[None]
    root = layer.joints(shaped)[:, :1]
    turned = layer.pose(shaped, torch.tensor([[0.0, torch.pi, 0, 0, 0, 0]]))
    mirrored = (shaped - root) * torch.tensor([-1.0, 1.0, -1.0]) + root
    assert torch.allclose(turned, mirrored, atol=1e-6)


@pytest.mark.parametrize("drawing_order", ["template", "pickle"])
def test_pictures(drawing_order: str) -> None:
    recorded = golden("emoca_decode")
    head = geometry() if drawing_order == "template" else emoca.FlameGeometry.from_arrays(flame_arrays())
    found = decode(emoca.Emoca(head), recorded, 512)
    assert np.abs(found.verts.numpy() - recorded["verts"]).max() < 1e-6
    assert np.abs(found.normals.numpy() - recorded["normals"]).max() < 1e-5
    assert np.abs(found.projected.numpy() - recorded["trans_verts"]).max() < 5e-6
    if drawing_order == "template":
        check_pictures(found, recorded)
    else:
        off = np.abs(found.normal_map.numpy().astype(int) - recorded["cond_u8"]).max(axis=3)
        assert ((off > 0).mean((1, 2)) <= 0.0005).all()
        assert ((off > 1).sum((1, 2)) <= 20).all()
    assert (found.normal_map.numpy()[recorded["pix_to_face"] < 0] == 127).mean() > 0.999


def test_interpolated_normals() -> None:
    recorded = golden("emoca_decode")
    faces = torch.from_numpy(recorded["faces"].astype(np.int64))
    fragments = emoca.rasterize(torch.from_numpy(recorded["trans_verts"][1]), faces, 512, frame="image")
    found = emoca.interpolate(fragments, faces, torch.from_numpy(recorded["normals"][1]))
    rows, columns = recorded["samp_yx"][1].astype(int).T
    assert np.abs(found.numpy()[rows, columns] - recorded["samp_normal"][1]).max() < 1e-4
    assert float(found[fragments.pix_to_face < 0].abs().max()) == 0


def test_one_code_counts_as_a_batch_of_one_and_other_sizes_scale() -> None:
    recorded = golden("emoca_decode")
    codes = {name: recorded[name][0] for name in ("shapecode", "expcode", "posecode", "cam", "tform")}
    halved = {**codes, "tform": codes["tform"] @ np.diag([2.0, 2.0, 1.0]).astype(np.float32)}
    model = emoca.Emoca(geometry())
    large, small, wide = decode(model, codes, 512), decode(model, halved, 256), decode(model, codes, (512, 640))
    assert small.normal_map.shape == (1, 256, 256, 3)
    shares = [float((found.pix_to_face >= 0).float().mean()) for found in (large, small)]
    assert abs(shares[0] - shares[1]) < 0.005
    inside = (large.pix_to_face[0] >= 0).sum() - (wide.pix_to_face[0, :, :512] >= 0).sum()
    assert abs(int(inside)) < 200  # the same head on a wider canvas


def test_decode_names_wrong_codes() -> None:
    recorded = golden("emoca_decode")
    codes = {key: recorded[key][:2] for key in ("shapecode", "expcode", "posecode", "cam", "tform")}
    model = emoca.Emoca(geometry())
    with pytest.raises(emoca.UsageError, match="shape must be"):
        decode(model, {**codes, "shapecode": np.zeros((2, 99))}, 64)
    with pytest.raises(emoca.UsageError, match="same batch size"):
        decode(model, {**codes, "cam": codes["cam"][:1]}, 64)
    with pytest.raises(emoca.UsageError, match="NaN"):
        decode(model, {**codes, "posecode": np.full((2, 6), np.nan)}, 64)


def test_head_with_fewer_columns_or_loose_faces_is_refused() -> None:
    arrays = flame_arrays()
    with pytest.raises(emoca.IncompatibleAssetError, match="shapedirs"):
        emoca.FlameGeometry.from_arrays({**arrays, "shapedirs": arrays["shapedirs"][..., :100]})
    with pytest.raises(emoca.IncompatibleAssetError, match="weights"):
        emoca.FlameGeometry.from_arrays({**arrays, "weights": arrays["weights"][:, :4]})
    with pytest.raises(emoca.IncompatibleAssetError, match="faces"):
        emoca.FlameGeometry.from_arrays({**arrays, "f": arrays["f"] + 10_000})


def test_buffers_round_trip() -> None:
    head = geometry()
    entries = head.to_buffers()
    assert emoca.FlameGeometry.buffers_complete(entries)
    again = emoca.FlameGeometry.from_buffers(entries)
    assert torch.equal(again.shapedirs, head.shapedirs)
    assert torch.equal(again.faces, head.faces)
    assert not emoca.FlameGeometry.buffers_complete({k: v for k, v in entries.items() if "posedirs" not in k})
