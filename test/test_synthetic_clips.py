"""Motion and files of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hand_recon_ros import Camera, Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic import clip_scenes, load_clip, render_scene, sample_motion, write_clip
from hand_recon_ros.synthetic.motion import PHASES, Motion
from hand_recon_ros.synthetic.overlap import overlap_depth

MODEL = load_hand_model()
SIZE = (160, 120)


def keypoints(motion: Motion) -> np.ndarray:
    shape = (len(motion.stamps), 10)
    return np.stack(
        [
            MODEL.kinematics(side).forward(
                motion.rotations[:, side], np.broadcast_to(motion.betas[side], shape), motion.translation[:, side]
            )[0]
            for side in Side
        ],
        axis=1,
    )


@pytest.fixture(scope="module", params=[(0, "webcam"), (1, "webcam"), (2, "egocentric")], ids=str)
def motion(request: pytest.FixtureRequest) -> Motion:
    seed, view = request.param
    return sample_motion(MODEL, 300, seed, view=view)


def test_motion_is_smooth(motion: Motion) -> None:
    joints = keypoints(motion)
    velocity = np.diff(joints, axis=0) * 30
    acceleration = np.diff(velocity, axis=0) * 30
    assert np.linalg.norm(velocity, axis=-1).max() < 1.0
    assert np.linalg.norm(acceleration, axis=-1).max() < 12.0
    # The hands do move.
    assert np.linalg.norm(velocity, axis=-1).mean() > 0.02


def test_a_motion_has_all_phases_and_the_hands_cross_twice(motion: Motion) -> None:
    names = np.array(PHASES)[motion.phases]
    assert set(names) == set(PHASES)
    assert names[0] == "apart" and names[-1] == "apart"
    x = keypoints(motion)[:, :, 9, 0]
    order = np.sign(x[:, Side.LEFT] - x[:, Side.RIGHT])
    # The hands swap sides in the image while they cross, and return.
    assert (order[names == "crossing"] == -order[0]).any()
    assert order[-1] == order[0]


def test_joint_angles_stay_inside_the_limits(motion: Motion) -> None:
    for side in Side:
        kinematics = MODEL.kinematics(side)
        angles = kinematics.angles_of(motion.rotations[:, side])[:, 1:]
        low, high = kinematics.limits[1:, :, 0], kinematics.limits[1:, :, 1]
        assert (angles > low - 1e-6).all() and (angles < high + 1e-6).all()


def test_hands_touch_but_do_not_pass_through_each_other(motion: Motion) -> None:
    from scipy.spatial import cKDTree

    gaps, depths = [], []
    for i in range(0, 300, 6):
        left, right = (
            MODEL.mesh(side, motion.rotations[i, side], motion.betas[side], motion.translation[i, side])
            for side in Side
        )
        depths.append(overlap_depth(left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT)))
        gaps.append(cKDTree(left).query(right)[0].min())
    assert max(depths) < 0.002
    assert min(gaps) < 0.006


def test_overlap_depth_of_known_shapes() -> None:
    trimesh = pytest.importorskip("trimesh")
    ball = trimesh.creation.icosphere(subdivisions=4, radius=0.02)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces, dtype=np.int32)
    assert overlap_depth(vertices, faces, vertices + [0.041, 0, 0], faces) == 0.0
    assert np.isclose(overlap_depth(vertices, faces, vertices + [0.035, 0, 0], faces), 0.005, atol=0.0005)


def test_the_same_seed_gives_the_same_motion_whatever_the_length() -> None:
    long, short = sample_motion(MODEL, 320, 7), sample_motion(MODEL, 40, 7)
    assert np.allclose(long.translation[:40], short.translation, atol=2e-4)
    assert np.array_equal(long.rotations[:40], short.rotations)
    assert not np.allclose(sample_motion(MODEL, 40, 8).translation, short.translation, atol=1e-3)


def test_invalid_arguments_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown view 'above'"):
        sample_motion(MODEL, 3, 0, view="above")
    with pytest.raises(ValueError, match="frames >= 1"):
        sample_motion(MODEL, 0, 0)
    with pytest.raises(ValueError, match="unknown clip format 'gif'"):
        write_clip(tmp_path, frames=1, fmt="gif")
    with pytest.raises(FileNotFoundError, match="no truth.npz"):
        load_clip(tmp_path)


def test_hands_stay_in_the_image() -> None:
    camera = Camera.from_fov(640, 480, 65)
    motion = sample_motion(MODEL, 300, 3, width=0.45 * 640 / camera.K[0, 0])
    pixels = camera.project(keypoints(motion))
    inside = ((pixels > 0) & (pixels < (639, 479))).all(axis=-1)
    assert inside.mean() > 0.99
    depth = keypoints(motion)[..., 2]
    assert 0.3 < depth.min() and depth.max() < 0.65


def test_a_loaded_clip_equals_its_rendering(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip", frames=3, seed=5, size=SIZE, fov=60, progress=False)
    clip = load_clip(folder)
    camera = Camera.from_fov(*SIZE, 60)
    motion, scenes = clip_scenes(MODEL, 3, 5, camera)
    assert len(clip) == 3 and np.array_equal(clip.camera.K, camera.K)
    assert np.allclose(clip.truth["stamps"], np.arange(3) / 30)
    for i, image in enumerate(clip.images()):
        rendering = render_scene(scenes[i], MODEL)
        assert np.array_equal(image, rendering.image)
        assert np.array_equal(clip.visible(i), rendering.visible)
        assert np.array_equal(clip.amodal(i), rendering.amodal)
        depth, seen = clip.depth(i), np.isfinite(rendering.depth)
        assert np.array_equal(np.isfinite(depth), seen)
        assert np.abs(depth[seen] - rendering.depth[seen]).max() < 0.6e-4
        for name in ("joints", "keypoints_2d", "vertices", "keypoint_visible"):
            assert np.array_equal(clip.truth[name][i], getattr(rendering, name)), name
        for side in Side:
            x, y, width, height = clip.truth["boxes"][i, side].astype(int)
            mask = rendering.amodal[side]
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            assert mask[y].any() and mask[:, x + width - 1].any()
    assert np.array_equal(clip.truth["rotations"], motion.rotations)
    with np.load(folder / "truth.npz", allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays.files} <= set("fibU")
    posed = MODEL.mesh(
        Side.LEFT, clip.truth["rotations"][1, 0], clip.truth["betas"][0], clip.truth["translation"][1, 0]
    )
    assert np.allclose(posed, clip.truth["vertices"][1, 0], atol=1e-6)


def test_a_video_clip_replaces_the_images_and_is_close_to_them(tmp_path: Path) -> None:
    folder = write_clip(tmp_path, frames=6, seed=5, size=(320, 240), progress=False)
    images = list(load_clip(folder).images())
    write_clip(tmp_path, frames=6, seed=5, fmt="mp4", size=(320, 240), progress=False)
    assert not (tmp_path / "images").exists()
    frames = list(load_clip(tmp_path).images())
    assert len(frames) == 6
    error = np.stack(frames).astype(float) - np.stack(images)
    assert np.sqrt((error**2).mean()) < 8.0


def test_an_interrupted_clip_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hand_recon_ros.synthetic.clips as clips

    write_clip(tmp_path, frames=2, seed=1, size=SIZE, progress=False)

    def broken(*_: object) -> None:
        raise RuntimeError("interrupted")

    monkeypatch.setattr(clips, "render_scene", broken)
    with pytest.raises(RuntimeError, match="interrupted"):
        write_clip(tmp_path, frames=2, seed=2, size=SIZE, progress=False)
    with pytest.raises(FileNotFoundError):
        load_clip(tmp_path)
