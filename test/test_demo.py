"""The demonstration's parts: what it plays, recordings read back, and the figures made of them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera, HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate
from hand_recon_ros.bags.check import check_hands_file
from hand_recon_ros.bags.messages import deserialized
from hand_recon_ros.bags.output import HANDS, KINDS, WRISTS
from hand_recon_ros.calibration import write_calibration
from hand_recon_ros.evaluation import demo_report, recording
from hand_recon_ros.evaluation.demo_report import fitted, summarise
from hand_recon_ros.ros.demo import launcher as demo
from hand_recon_ros.ros.demo import processes

ROOT = Path(__file__).resolve().parents[1]


def hand(side: Side, joints: np.ndarray, state: HandState = HandState.TRACKED) -> dict[str, Any]:
    """What is recorded of a hand, as far as the figures need it."""
    points = [{"position": dict(zip("xyz", point, strict=True))} for point in joints.tolist()]
    return {"side": int(side), "state": int(state), "joints": points}


def write_run(
    folder: Path, offsets: np.ndarray, states: list[tuple[HandState, HandState]], dropped: int = 0
) -> dict[str, np.ndarray]:
    """A recording in ``folder`` of 10 frames sent, of which the first ``len(offsets)`` came back.

    Each hand is the truth moved by its offset (N, 2, 3). Returns the truth; the hands overlap in every second frame and
    touch, 4 mm apart, in frames 4 and 5; messages of frames 4 and 6 are refined.
    """
    rng = np.random.default_rng(0)
    truth = rng.normal(scale=0.03, size=(10, 2, 21, 3)) + [0.0, 0.0, 0.5]
    folder.mkdir(parents=True)
    plan = {"kind": "clip", "source": "", "rate": 30.0, "folder": "", "camera_info": "", "fov": 60.0, "namespace": "/d"}
    (folder / "run.json").write_text(json.dumps(plan))
    sent = [{"stamp": [100, n * 1000], "number": n, "name": ""} for n in range(10)]
    (folder / "sent.jsonl").write_text("".join(json.dumps(line) + "\n" for line in sent))
    with open(folder / "hands.jsonl", "w") as file:
        for n, (offset, state) in enumerate(zip(offsets, states, strict=True)):
            record = {
                "received": 100.0 + 0.05 * n,
                "header": {"stamp": {"sec": 100, "nanosec": n * 1000}, "frame_id": "camera"},
                "left": hand(Side.LEFT, truth[n, Side.LEFT] + offset[Side.LEFT], state[Side.LEFT]),
                "right": hand(Side.RIGHT, truth[n, Side.RIGHT] + offset[Side.RIGHT], state[Side.RIGHT]),
                "latency": 0.010 + 0.001 * n,
                "dropped": dropped,
                "calibrated": True,
                "refined": n in (4, 6),
            }
            file.write(json.dumps(record) + "\n")
    corners = np.array([[0.0, 0.0, 0.0], [0.02, 0.0, 0.0], [0.0, 0.02, 0.0], [0.0, 0.0, 0.02]])
    gap = np.where(np.isin(np.arange(10), (4, 5)), 0.004, 0.2)
    left = corners - [1.0, 0.0, 0.0] * (0.02 + gap[:, None, None])
    meshes = np.stack([left, np.broadcast_to(corners, left.shape)], axis=1)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return {
        "joints": truth, "overlap": np.arange(10) % 2 == 1, "vertices": meshes, "faces": np.stack([faces, faces]),
    }  # fmt: skip


TRACKED, LOST = HandState.TRACKED, HandState.LOST


def test_the_summary_counts_and_scores(tmp_path):
    offsets = np.zeros((8, 2, 3))
    offsets[:, Side.LEFT] = [0.003, 0.0, 0.004]
    # The left hand is lost in frames 0 and 1, the right one PREDICTED in frame 3: what is not TRACKED is not scored.
    states = [(TRACKED, TRACKED)] * 8
    states[0] = states[1] = (LOST, TRACKED)
    states[3] = (TRACKED, HandState.PREDICTED)
    offsets[3, Side.RIGHT] = 1.0
    truth = write_run(tmp_path / "run", offsets, states, dropped=2)
    summary = summarise(recording.Recording(tmp_path / "run"), truth)
    assert (summary["frames_sent"], summary["frames_processed"], summary["frames_dropped"]) == (10, 8, 2)
    assert summary["frames_received"] == 10  # processed and dropped: the node published no count
    assert summary["tracked_ratio"] == {"left": 0.75, "right": 0.875}
    assert summary["frames_apart"] == 4
    assert summary["tracked_ratio_apart"] == {"left": 0.75, "right": 1.0}
    assert summary["frames_touching"] == 2
    assert (summary["refined_ratio"], summary["refined_ratio_touching"]) == (0.25, 0.5)
    assert summary["latency_ms"] == {"p50": 13.5, "p95": pytest.approx(16.65)}
    assert summary["fps"] == pytest.approx(20.0)
    assert summary["mpjpe_mm"] == pytest.approx(0.0, abs=1e-3) and summary["pa_mpjpe_mm"] == pytest.approx(
        0.0, abs=1e-3
    )
    assert summary["mrrpe_mm"] == pytest.approx(5.0)
    assert summary["wrist_error_mm"] == pytest.approx(
        6 * 5.0 / 13, abs=1e-3
    )  # 6 left hands 5 mm off, 7 right ones exact
    text = demo_report.table(summary)
    assert "left 75.0 %" in text and "wrist to wrist" in text


def test_the_count_of_received_images_is_the_nodes(tmp_path):
    write_run(tmp_path / "run", np.zeros((8, 2, 3)), [(TRACKED, LOST)] * 8)

    def message(topic: str, count: int) -> dict[str, Any]:
        status = {"hardware_id": topic, "values": [{"key": "images received", "value": str(count)}]}
        return {"received": 0.0, "status": [status]}

    lines = [message("/d/image", 4), message("/d/image", 9), message("/other/image", 77)]
    (tmp_path / "run" / "diagnostics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cut')
    summary = summarise(recording.Recording(tmp_path / "run"), None)
    assert summary["frames_received"] == 9
    assert summary["tracked_ratio_apart"] == {"left": None, "right": None}
    assert "mpjpe_mm" not in summary and "left -" in demo_report.table(summary)


def test_hands_that_were_never_found_have_no_errors(tmp_path):
    truth = write_run(tmp_path / "run", np.zeros((3, 2, 3)), [(LOST, LOST)] * 3)
    summary = summarise(recording.Recording(tmp_path / "run"), truth)
    assert summary["tracked_ratio"] == {"left": 0.0, "right": 0.0}
    assert all(summary[name] is None for name in ("mpjpe_mm", "pa_mpjpe_mm", "mrrpe_mm", "wrist_error_mm"))


def test_a_recording_without_hands_is_an_error(tmp_path, capsys):
    write_run(tmp_path / "run", np.zeros((0, 2, 3)), [])
    assert demo_report.main([str(tmp_path)]) == 1
    assert "published no hands message" in capsys.readouterr().err


def test_pictures_are_fitted_into_the_video():
    white = np.full((20, 40, 3), 255, dtype=np.uint8)
    tile = fitted(white, 40, 40)
    assert tile.shape == (40, 40, 3)
    assert tile[20].min() == 255 and tile[:10].max() == 0 and tile[30:].max() == 0


def test_recorded_messages_give_the_estimates_back():
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg")
    from std_msgs.msg import Header

    from hand_recon_ros.conversions.frames import hand_poses
    from hand_recon_ros.geometry.joint_angles import rotations_from_angles
    from hand_recon_ros.hand_model import load_hand_model
    from hand_recon_ros.ros.demo.recorder import to_plain
    from hand_recon_ros.ros.messages import build_hands_message
    from hand_recon_ros.skeleton import wrist_pose

    model = load_hand_model("")
    rng = np.random.default_rng(3)
    side = Side.LEFT
    rotations = rotations_from_angles(rng.uniform(-0.1, 0.3, size=(16, 3)), model.kinematics(side).joint_frames)
    betas, translation = rng.normal(scale=0.5, size=10), np.array([0.02, -0.03, 0.5])
    joints = model.kinematics(side).forward(rotations, betas, translation)[0]
    estimate = HandEstimate(
        side=side, state=TRACKED, score=0.75, side_score=0.5, track_id=7, since_measurement=0.0, joints=joints,
        joint_scores=np.linspace(0.0, 1.0, 21), keypoints_2d=rng.uniform(0, 400, (21, 2)),
        mesh=lambda: model.mesh(side, rotations, betas, translation), faces=model.faces(side), rotations=rotations,
        betas=betas, translation=translation, wrist_pose=wrist_pose(joints, right=False), roi=(10.0, 20.0, 30.0, 40.0),
        scale_source=ScaleSource.PRIOR, position_stddev=0.01,
    )  # fmt: skip
    two = TwoHandEstimate(estimate, HandEstimate.lost(Side.RIGHT, 2.5), hand_model=model.name, calibrated=True)
    message = build_hands_message(two, hand_poses(two), Header(frame_id="camera"), model, (640, 480), dropped=3)
    record = json.loads(json.dumps(to_plain(message)))
    assert record["dropped"] == 3 and record["header"]["frame_id"] == "camera"
    back = recording.estimate(record, model)
    assert back.calibrated and back.hand_model == model.name
    assert back.left.state == TRACKED and back.left.track_id == 7 and back.left.roi == (10, 20, 30, 40)
    for name in ("joints", "vertices", "rotations", "wrist_pose", "joint_scores"):
        np.testing.assert_allclose(getattr(back.left, name), getattr(estimate, name), atol=2e-6, err_msg=name)
    assert back.right.state == LOST and back.right.since_measurement == pytest.approx(2.5)


@pytest.mark.parametrize("source", ["/nowhere.jpg", "{empty}"])
def test_a_bad_input_is_one_line_and_exit_code_1(tmp_path, capsys, source):
    (tmp_path / "empty").mkdir()
    source = source.format(empty=tmp_path / "empty")
    assert demo.main(["--out", str(tmp_path / "out"), "--input", source]) == 1
    error = capsys.readouterr().err
    assert error.startswith("demo: ") and source in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "inputs", [["--input", "/nowhere.jpg"], ["--input", "{photo}", "--camera-info", "/nowhere.yaml"]]
)
def test_an_input_that_cannot_be_played_leaves_the_results_of_before(tmp_path, inputs):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((8, 8, 3), np.uint8))
    run = demo.fresh_folder(tmp_path / "out")
    (run / "hands.jsonl").touch()
    (tmp_path / "out" / "summary.json").write_text("{}")
    inputs = [each.format(photo=tmp_path / "photo.png") for each in inputs]
    assert demo.main(["--out", str(tmp_path / "out"), *inputs]) == 1
    assert (tmp_path / "out" / "summary.json").exists() and (run / "hands.jsonl").exists()


def test_plans_follow_the_kind_of_the_input(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, 8, 3), np.uint8))
    options = demo.parser().parse_args(["--input", str(tmp_path)])
    plan = demo.make_plan(options, tmp_path / "clips")
    assert (plan.kind, plan.rate, plan.duration, plan.fov) == ("photos", 10.0, 3.0, 60.0)
    write_calibration(tmp_path / "camera.yaml", Camera.from_fov(8, 8, 60.0))
    options = demo.parser().parse_args(["--input", str(tmp_path), "--camera-info", str(tmp_path / "camera.yaml")])
    plan = demo.make_plan(options, tmp_path / "clips")
    assert plan.fov == 0.0 and plan.camera_info == str(tmp_path / "camera.yaml")


def test_videos_are_as_long_as_their_stamps():
    stamps = [(10, 0), (10, 500_000_000), (12, 0)]
    assert demo_report.playing_rate(stamps) == pytest.approx(1.0)
    assert demo_report.playing_rate(stamps[:2]) == pytest.approx(2.0)
    assert demo_report.playing_rate(stamps[:1]) == demo_report.playing_rate([]) == 30.0


def test_the_recorder_writes_every_message(tmp_path, monkeypatch):
    rclpy = pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg")
    from geometry_msgs.msg import PoseStamped
    from hand_recon_ros.msg import Hand, TwoHands
    from mcap.reader import make_reader
    from rclpy.qos import QoSProfile

    environment = processes.dds_environment()
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH", "")]))
    for name in ("ROS_AUTOMATIC_DISCOVERY_RANGE", "RMW_IMPLEMENTATION"):
        monkeypatch.setenv(name, environment[name])
    namespace, count = f"/recorder_{os.getpid()}", 60
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(environment["ROS_DOMAIN_ID"]))
    node = rclpy.create_node("hand_recon", namespace=namespace, context=context)
    publisher = node.create_publisher(TwoHands, "~/hands", QoSProfile(depth=count))
    left, _ = (
        node.create_publisher(PoseStamped, f"~/{side}/wrist", QoSProfile(depth=count)) for side in ("left", "right")
    )
    module_name, begin = "hand_recon_ros.ros.demo.recorder", time.time()
    try:
        with processes.Process(
            "recorder", module_name, {"out": tmp_path}, tmp_path, namespace, environment
        ) as recorder:
            recorder.wait_for_line("ready", timeout=30.0)
            end = time.monotonic() + 10.0
            while publisher.get_subscription_count() < 1 and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(0.3)
            for index in range(count):
                message = TwoHands(hand_model="test", dropped=index, latency=0.5)
                message.header.stamp.sec, message.header.stamp.nanosec = 5, index
                message.left.state, message.left.keypoints_2d[41] = Hand.TRACKED, 1.5
                message.right.joints[20].position.z = 0.25
                publisher.publish(message)
                left.publish(PoseStamped(header=message.header))
                time.sleep(0.002)
            time.sleep(0.5)
            recorder.stop()
            assert recorder.returncode == 0, recorder.text()
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    lines = recording.read_lines(tmp_path / "hands.jsonl")
    assert [recording.stamp_of(line) for line in lines] == [(5, index) for index in range(count)]
    assert [line["dropped"] for line in lines] == list(range(count))
    line = lines[-1]
    assert line["hand_model"] == "test" and line["latency"] == 0.5 and line["left"]["state"] == 1
    assert line["left"]["keypoints_2d"][41] == 1.5 and len(line["left"]["pose"]) == 48
    with open(tmp_path / "hands.mcap", "rb") as file:
        recorded = [(channel.topic, data) for _, channel, data in make_reader(file).iter_messages()]
    assert {topic for topic, _ in recorded} == {HANDS, WRISTS[Side.LEFT]}
    for topic in (HANDS, WRISTS[Side.LEFT]):
        messages = [deserialized(data.data, KINDS[topic]) for name, data in recorded if name == topic]
        assert [message.header.stamp.nanosec for message in messages] == list(range(count))
    assert recording.joints_of(line["right"])[20].tolist() == [0.0, 0.0, 0.25]
    assert begin < line["received"] < time.time()


def test_a_short_clip_through_the_whole_demonstration(tmp_path, capfd):
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg")
    from hand_recon_ros.hand_model import load_hand_model

    out = tmp_path / "demo"
    code = demo.main(["--out", str(out), "--frames", "24"])
    output = capfd.readouterr()
    assert code == 0, output.err
    assert "sent 24  received" in output.out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_sent"] == 24 and summary["calibrated"]
    assert summary["frames_received"] >= 23
    assert summary["frames_processed"] + summary["frames_dropped"] == pytest.approx(24, abs=1)
    assert max(summary["tracked_ratio"].values()) > 0.5
    assert 0.0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"]
    assert 0.0 < summary["pa_mpjpe_mm"] < 20.0 and summary["pa_mpjpe_mm"] < summary["mpjpe_mm"] < 60.0
    assert summary["wrist_error_mm"] < 100.0

    run = recording.Recording(out / "run")
    assert len(run.hands) == summary["frames_processed"] == len(recording.read_lines(out / "hands.jsonl"))
    checked = check_hands_file(out / "hands.mcap")
    assert checked["faults"] == [] and checked["images"] == summary["frames_processed"]
    assert min(checked["found"].values()) > 0
    assert set(run.hands) <= {tuple(line["stamp"]) for line in run.sent}
    model = load_hand_model("")
    camera = run.camera(next(run.images())[1])
    assert camera.calibrated
    for record in run.hands.values():
        assert record["header"]["frame_id"] == "camera_optical_frame"
        two = recording.estimate(record, model)
        for one in (two.left, two.right):
            if one.found:  # the message's parameters make the mesh its keypoints belong to
                nearest = np.linalg.norm(one.vertices[:, None] - one.joints[None, [4, 8, 12, 16, 20]], axis=-1).min(0)
                assert nearest.max() < 0.01
                assert np.isfinite(camera.project(one.joints)).all()

    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet is not None and sheet.shape[1] == 4 * 400 and sheet.std() > 10
    video = cv2.VideoCapture(str(out / "overlay.mp4"))
    frames = 0
    while video.read()[0]:
        frames += 1
    video.release()
    assert frames == summary["frames_processed"]
