"""Crops and encoders against the original code's recorded results, and the whole path of the pose demo."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import arc2face_emoca as emoca
from tests.recipe3d import ENCODERS, encoder, encoder_entries, full_model, golden, small_encoder
from tests.test_emoca_flame import check_pictures


def crops() -> torch.Tensor:
    recorded = golden("emoca_encode_flame")["enc_crops_u8"]
    return torch.from_numpy(recorded.transpose(0, 3, 1, 2).astype(np.float32) / 255)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder_outputs(name: str) -> None:
    recorded = golden("emoca_encode_flame")
    with torch.inference_mode():
        features, outputs = encoder(name).features(crops()), encoder(name)(crops())
    assert np.abs(features.numpy() - recorded[f"enc_{name}_feat"]).max() < 1e-4
    assert np.abs(outputs.numpy() - recorded[f"enc_{name}_out"]).max() < 1e-4


def test_codes_are_split_and_the_expression_is_replaced() -> None:
    recorded = golden("emoca_encode_flame")
    found = full_model().encode(crops())
    names = ("shapecode", "texcode", "expcode", "posecode", "cam", "lightcode")
    for code, name in zip(found, names, strict=True):
        assert np.abs(code.numpy() - recorded[f"enc_code_{name}"]).max() < 1e-4, name


@pytest.mark.parametrize(
    ("who", "picture", "points"), [("src", "src_u8", "lm_src"), ("ref", "ref_aligned_u8", "lm_aligned")]
)
def test_crops(who: str, picture: str, points: str) -> None:
    recorded = golden("emoca_end2end")
    found = emoca.preprocess(recorded[picture], recorded[points])
    assert np.abs(found.image - recorded[f"{who}_crop_f32"]).max() < 1e-6
    assert np.abs(found.tform - recorded[f"{who}_tform"]).max() < 2e-6


def test_largest_box_wins_and_no_face_takes_the_picture() -> None:
    recorded = golden("emoca_end2end")
    several = emoca.preprocess(recorded["src_u8"], boxes=recorded["pre_multi_boxes"])
    nobody = emoca.preprocess(recorded["src_u8"])
    for found, name in ((several, "multi"), (nobody, "none")):
        assert np.abs(found.image - recorded[f"pre_{name}_crop_f32"]).max() < 1e-6
        assert np.abs(found.tform - recorded[f"pre_{name}_tform"]).max() < 2e-6


def test_last_of_equal_boxes_wins() -> None:
    boxes = np.array([[10, 10, 30, 30], [40, 40, 60, 60], [0, 0, 5, 5]])
    assert emoca.crop_box(100, 100, boxes=boxes)[:2] == (50, 50)


def test_integer_boxes_follow_the_closed_form() -> None:
    for width, height in ((37, 51), (200, 160), (333, 78)):
        _, _, size = emoca.crop_box(500, 500, boxes=[5, 7, 5 + width, 7 + height])
        assert size == 11 * (width + height) // 16


def test_bad_pictures_and_landmarks_are_named() -> None:
    picture: Any = np.zeros((40, 50, 3), np.uint8)
    with pytest.raises(emoca.UsageError, match="uint8"):
        emoca.preprocess(picture.astype(np.float32))
    with pytest.raises(emoca.UsageError, match="68"):
        emoca.preprocess(picture, np.zeros((5, 2)))
    with pytest.raises(emoca.UsageError, match="extent"):
        emoca.preprocess(picture, np.ones((68, 2)))
    with pytest.raises(emoca.UsageError, match="68 finite"):
        emoca.preprocess(picture, np.full((68, 2), np.nan))


def test_whole_path_of_the_demo() -> None:
    recorded = golden("emoca_end2end")
    model = full_model()
    source = emoca.preprocess(recorded["src_u8"], recorded["lm_src"])
    reference = emoca.preprocess(recorded["ref_aligned_u8"], recorded["lm_aligned"])
    who, how = model.encode(source.image), model.encode(reference.image)
    for found, prefix in ((who, "src"), (how, "ref")):
        assert np.abs(found.shape.numpy() - recorded[f"{prefix}_shapecode"]).max() < 1e-4
        assert np.abs(found.pose.numpy() - recorded[f"{prefix}_posecode"]).max() < 1e-4
    drawn = model.decode(who.shape, how.exp, how.pose, how.cam, reference.tform, 512)
    assert np.abs(drawn.projected.numpy()[0] - recorded["trans_verts"]).max() < 5e-6
    check_pictures(drawn, recorded)


def test_configuration_is_read_off_the_shapes() -> None:
    assert emoca.EncoderConfig.infer(encoder_entries("E_flame")) == emoca.EncoderConfig()
    small = small_encoder(236)
    again = emoca.Encoder.from_state_dict({f"x.{k}": v for k, v in small.state_dict().items()}, "x.")
    assert again.config == small.config
    with torch.inference_mode():
        assert torch.equal(again(crops()), small(crops()))


def test_encoder_keys_are_accounted_for() -> None:
    state = small_encoder(50).state_dict()
    with pytest.raises(emoca.IncompatibleAssetError, match=r"missing: layers\.0\.bias"):
        emoca.Encoder.from_state_dict({k: v for k, v in state.items() if k != "layers.0.bias"})
    with pytest.raises(emoca.IncompatibleAssetError, match=r"unexpected: encoder\.fc\.weight"):
        emoca.Encoder.from_state_dict({**state, "encoder.fc.weight": torch.zeros(1)})
    with pytest.raises(emoca.IncompatibleAssetError, match="of another shape"):
        emoca.Encoder.from_state_dict({**state, "encoder.bn1.bias": torch.zeros(3)})
    with pytest.raises(emoca.IncompatibleAssetError, match="no ResNet"):
        emoca.Encoder.from_state_dict({"a": torch.zeros(1)})


def test_encode_needs_encoders_and_crops() -> None:
    with pytest.raises(emoca.UsageError, match="no encoders"):
        emoca.Emoca(full_model().geometry).encode(crops())
    with pytest.raises(emoca.UsageError, match="224"):
        full_model().encode(np.zeros((1, 3, 112, 112)))
