"""Overlays: which pixels change, which stay, and input that is not finite or out of view."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera, HandEstimate, HandState, Side, TwoHandEstimate
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.overlay import HAND_COLOURS, contact_sheet, draw_overlay

MODEL = load_hand_model()
CAMERA = Camera.from_fov(640, 480, 65)
GREY = np.full((480, 640, 3), 128, dtype=np.uint8)


def hand(side: Side, x: float, z: float = 0.4, state: HandState = HandState.TRACKED) -> HandEstimate:
    """A hand with its fingers up, palm to the camera."""
    rotations = np.tile(np.eye(3), (16, 1, 1))
    fingers = np.array([0.0, 1.0 if side == Side.RIGHT else -1.0, 0.0])
    rotations[0] = np.stack([fingers, [0.0, 0.0, 1.0], np.cross(fingers, [0.0, 0.0, 1.0])], axis=1)
    kinematics = MODEL.kinematics(side)
    translation = np.array([x, 0.05, z]) - kinematics.keypoint_template[0]
    joints, _ = kinematics.forward(rotations, np.zeros(10), translation)
    return dataclasses.replace(
        HandEstimate.lost(side),
        state=state,
        score=0.9,
        joints=joints,
        keypoints_2d=CAMERA.project(joints),
        mesh=lambda: MODEL.mesh(side, rotations, np.zeros(10), translation),
        faces=MODEL.faces(side),
    )


def both() -> TwoHandEstimate:
    return TwoHandEstimate(hand(Side.LEFT, 0.1), hand(Side.RIGHT, -0.1))


def test_lost_hands_leave_the_image_as_it_is() -> None:
    lost = TwoHandEstimate(HandEstimate.lost(Side.LEFT), HandEstimate.lost(Side.RIGHT))
    overlay = draw_overlay(GREY, lost, CAMERA)
    assert np.array_equal(overlay, GREY) and overlay is not GREY


def test_the_input_is_not_touched() -> None:
    image = GREY.copy()
    overlay = draw_overlay(image, both(), CAMERA)
    assert np.array_equal(image, GREY)
    assert overlay.shape == image.shape and overlay.dtype == np.uint8 and (overlay != image).any()


def test_a_mesh_is_drawn_where_it_projects_in_the_colour_of_its_side() -> None:
    overlay = draw_overlay(GREY, both(), CAMERA, skeleton=False, labels=False).astype(int)
    changed = (overlay != 128).any(axis=2)
    for side, estimate in ((Side.LEFT, both().left), (Side.RIGHT, both().right)):
        pixels = CAMERA.project(estimate.vertices)
        low, high = np.floor(pixels.min(axis=0)).astype(int), np.ceil(pixels.max(axis=0)).astype(int) + 1
        region = changed[low[1] : high[1], low[0] : high[0]]
        assert 0.3 < region.mean() < 0.8
        mean = overlay[low[1] : high[1], low[0] : high[0]][region].mean(axis=0)
        assert np.argmax(mean) == np.argmax(HAND_COLOURS[side])
        changed[low[1] : high[1], low[0] : high[0]] = False
        inside = np.rint(estimate.keypoints_2d).astype(int)
        assert (overlay[inside[5:, 1], inside[5:, 0]] != 128).any(axis=1).all()
    assert not changed.any()


def test_a_mirrored_picture_gets_the_hands_where_it_shows_them() -> None:
    estimate = TwoHandEstimate(HandEstimate.lost(Side.LEFT), hand(Side.RIGHT, -0.1))
    plain, mirrored = (
        (draw_overlay(GREY, shown, CAMERA, skeleton=False, labels=False) != 128).any(axis=2)
        for shown in (estimate, dataclasses.replace(estimate, mirrored=True))
    )
    assert (mirrored ^ plain[:, ::-1]).sum() < 0.02 * plain.sum()


def test_the_nearer_hand_covers_the_farther() -> None:
    near, far = hand(Side.RIGHT, 0.0, 0.3), hand(Side.LEFT, 0.0, 0.6)
    overlay = draw_overlay(GREY, TwoHandEstimate(far, near), CAMERA, skeleton=False, labels=False)
    alone = draw_overlay(
        GREY, TwoHandEstimate(HandEstimate.lost(Side.LEFT), near), CAMERA, skeleton=False, labels=False
    )
    palm = np.rint(near.keypoints_2d[[5, 9, 13]].mean(axis=0)).astype(int)
    assert np.array_equal(overlay[palm[1], palm[0]], alone[palm[1], palm[0]])


def test_the_skeleton_stays_near_its_keypoints() -> None:
    estimate = both()
    overlay = draw_overlay(GREY, estimate, CAMERA, mesh=False, labels=False)
    rows, columns = np.nonzero((overlay != 128).any(axis=2))
    keypoints = np.concatenate([estimate.left.keypoints_2d, estimate.right.keypoints_2d])
    assert columns.min() > keypoints[:, 0].min() - 6 and columns.max() < keypoints[:, 0].max() + 6
    assert rows.min() > keypoints[:, 1].min() - 6 and rows.max() < keypoints[:, 1].max() + 6
    centres = np.rint(keypoints).astype(int)
    assert (overlay[centres[:, 1], centres[:, 0]] != 128).any(axis=1).all()


def test_a_label_is_written_even_where_the_hand_is_at_the_border() -> None:
    low = hand(Side.RIGHT, -0.1)
    low = dataclasses.replace(low, keypoints_2d=low.keypoints_2d + (-150, 260))
    overlay = draw_overlay(GREY, TwoHandEstimate(HandEstimate.lost(Side.LEFT), low), CAMERA, mesh=False, skeleton=False)
    assert (overlay != 128).any()


def test_predicted_hands_are_fainter() -> None:
    def strength(state: HandState) -> float:
        estimate = TwoHandEstimate(HandEstimate.lost(Side.LEFT), hand(Side.RIGHT, 0.0, state=state))
        return float(np.abs(draw_overlay(GREY, estimate, CAMERA, skeleton=False, labels=False).astype(int) - 128).sum())

    assert strength(HandState.PREDICTED) < 0.7 * strength(HandState.TRACKED)


@pytest.mark.parametrize("z", [-0.4, 0.0, 0.02, 1e-4])
def test_hands_behind_and_around_the_camera(z: float) -> None:
    draw_overlay(GREY, TwoHandEstimate(hand(Side.LEFT, 0.0, z), hand(Side.RIGHT, -3.0, 0.2)), CAMERA)


def test_numbers_that_are_none() -> None:
    broken = hand(Side.RIGHT, -0.1)
    vertices, pixels, joints = broken.vertices.copy(), broken.keypoints_2d.copy(), broken.joints.copy()
    vertices[::7], pixels[3], joints[0] = np.nan, np.inf, np.nan
    broken = dataclasses.replace(broken, mesh=lambda: vertices, keypoints_2d=pixels, joints=joints)
    overlay = draw_overlay(GREY, TwoHandEstimate(HandEstimate.lost(Side.LEFT), broken), CAMERA)
    assert (overlay != 128).any()
    nothing = dataclasses.replace(
        broken, keypoints_2d=np.full((21, 2), np.nan), mesh=lambda: np.full_like(vertices, np.nan)
    )
    assert np.array_equal(draw_overlay(GREY, TwoHandEstimate(HandEstimate.lost(Side.LEFT), nothing), CAMERA), GREY)


def test_grey_and_read_only_images() -> None:
    image = np.full((480, 640), 90, dtype=np.uint8)
    image.flags.writeable = False
    assert draw_overlay(image, both(), CAMERA).shape == (480, 640, 3)
    readonly = GREY.copy()
    readonly.flags.writeable = False
    draw_overlay(readonly, both(), CAMERA)


def test_contact_sheet_fits_every_picture_into_its_cell() -> None:
    red, tall = np.zeros((60, 80, 3), np.uint8), np.zeros((160, 40, 3), np.uint8)
    red[:], tall[:] = (0, 0, 255), (255, 0, 0)
    sheet = contact_sheet([red, tall, red], columns=2, width=160)
    assert sheet.shape == (120, 160, 3)
    assert (sheet[:60, :80] == (0, 0, 255)).all() and (sheet[60:, 80:] == 0).all()
    blue = (sheet[:60, 80:] == (255, 0, 0)).all(axis=2)
    assert np.isclose(blue.sum(), 15 * 60, rtol=0.05) and blue[:, 33:47].all()
    grey = contact_sheet([cv2.cvtColor(red, cv2.COLOR_BGR2GRAY)], columns=1, width=80)
    assert grey.shape == (60, 80, 3)
    for bad in (lambda: contact_sheet([]), lambda: contact_sheet([red], columns=0)):
        with pytest.raises(ValueError, match="contact_sheet needs"):
            bad()
