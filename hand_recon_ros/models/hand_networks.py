"""HaMeR and WiLoR from the files that ``hand-recon import-checkpoint`` writes, ready to run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from ..runtime.sessions import SessionError
from ..runtime.torch_session import gpu_failure
from .hamer import HamerConfig, HamerNetwork
from .mano_parameters import ManoParameters
from .rotations import matrix_from_6d
from .vit import IMAGE_SIZE, LOWERED, VitConfig
from .wilor import WilorConfig, WilorNetwork

Config = HamerConfig | WilorConfig
NETWORK, CONFIG, SOURCE = "network", "config", "source_sha256"
"""Keys of the file's metadata: name of the network, its configuration as JSON, digest of the checkpoint."""
CROP_SIZE = 256
"""Width and height of the crops, pixels; the network is given the middle columns."""
_MEAN, _STDDEV = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB values in ImageNet."""


def network_name(config: Config) -> str:
    """``hamer`` or ``wilor``."""
    return "hamer" if isinstance(config, HamerConfig) else "wilor"


def make_network(config: Config) -> HamerNetwork | WilorNetwork:
    """The network of a configuration, with random weights."""
    return HamerNetwork(config) if isinstance(config, HamerConfig) else WilorNetwork(config)


def config_from_json(name: str, text: str) -> Config:
    """The inverse of :func:`config_to_json`; raises ValueError, TypeError or KeyError where it is none."""
    values = json.loads(text)
    vit = VitConfig(**values.pop("vit"))
    kinds: dict[str, Callable[..., Config]] = {"hamer": HamerConfig, "wilor": WilorConfig}
    return kinds[name](vit=vit, **values)


def config_to_json(config: Config) -> str:
    """The configuration as JSON."""
    return json.dumps(dataclasses.asdict(config))


@dataclasses.dataclass(frozen=True, eq=False)
class HandPose:
    """What a network predicts of H right hands.

    Attributes:
        rotations: (H, 16, 3, 3) in MANO's order, the first the orientation in the camera's axes.
        betas: (H, 10).
        camera: (H, 3), see ``ManoParameters``.
    """

    rotations: np.ndarray
    betas: np.ndarray
    camera: np.ndarray


Mesh = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""MANO of right hands: rotations (H, 16, 3, 3) in MANO's order and betas (H, 10) -> vertices (H, V, 3), metres."""


class HandNetwork:
    """A network on a device, for uint8 crops.

    Attributes:
        name: ``hamer`` or ``wilor``.
        precision: of the transformer's blocks: half precision on a GPU; bfloat16 on a CPU that has instructions for it,
            else float32.
    """

    def __init__(self, network: HamerNetwork | WilorNetwork, device: str, mesh: Mesh, threads: int = 2) -> None:
        """
        Args:
            network: with its weights, on the CPU.
            device: as ``resolved_device`` gives it.
            mesh: MANO, for WiLoR's refinement.
            threads: of the CPU, for all of torch in this process.

        Raises DeviceError where the GPU has too little memory.
        """
        self.name = network_name(network.config)
        self._mesh, self._device = mesh, torch.device("cuda" if device == "cuda" else "cpu")
        self.precision = precision_of(device)
        if device != "cuda":
            torch.set_num_threads(threads)
        network.backbone.set_precision(self.precision)
        try:
            self._network = network.to(self._device)
        except RuntimeError as error:
            raise gpu_failure(error) from error
        self._mean = torch.tensor(_MEAN, device=self._device)[:, None, None]
        self._stddev = torch.tensor(_STDDEV, device=self._device)[:, None, None]

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> HandPose:
        """Poses of crops (H, 256, 256, 3), uint8 RGB, of right hands; raises DeviceError where the GPU fails."""
        if crops.dtype != np.uint8 or crops.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
            raise ValueError(f"crops must be uint8 (H, {CROP_SIZE}, {CROP_SIZE}, 3), got {crops.dtype} {crops.shape}")
        if self._device.type == "cpu":
            return self._evaluate(crops)
        try:
            return self._evaluate(crops)
        except RuntimeError as error:
            raise gpu_failure(error) from error

    def _evaluate(self, crops: np.ndarray) -> HandPose:
        margin = (CROP_SIZE - IMAGE_SIZE[1]) // 2
        images = torch.from_numpy(np.ascontiguousarray(crops[:, :, margin:-margin])).to(self._device)
        images = (images.permute(0, 3, 1, 2).float() / 255.0 - self._mean) / self._stddev
        if isinstance(self._network, WilorNetwork):
            hand: ManoParameters = self._network(images, self._vertices)
        else:
            hand = self._network(images)
        rotations = matrix_from_6d(hand.pose.unflatten(1, (16, 6)))
        return HandPose(*(values.cpu().numpy().astype(np.float64) for values in (rotations, hand.betas, hand.camera)))

    def _vertices(self, rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        vertices = self._mesh(rotations.cpu().numpy(), betas.cpu().numpy())
        return torch.from_numpy(np.ascontiguousarray(vertices, dtype=np.float32)).to(self._device)


def precision_of(device: str) -> torch.dtype:
    """Of the transformer's blocks on a device, as ``resolved_device`` gives it."""
    return torch.float16 if device == "cuda" else cpu_precision()


def cpu_precision() -> torch.dtype:
    """bfloat16 where the CPU multiplies it faster than float32, else float32."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = file.read()
    except OSError:
        return torch.float32
    return torch.bfloat16 if "amx_bf16" in flags or "avx512_bf16" in flags else torch.float32


def load_hand_network(path: str | os.PathLike[str], device: str, mesh: Mesh, threads: int = 2) -> HandNetwork:
    """A network from a file of ``import-checkpoint``, ready to run; arguments as of :class:`HandNetwork`.

    Raises SessionError where the file is none, or is damaged, and DeviceError where the GPU has too little memory.
    """
    return HandNetwork(network_from(path, precision_of(device)), device, mesh, threads)


def network_from(path: str | os.PathLike[str], precision: torch.dtype = torch.float32) -> HamerNetwork | WilorNetwork:
    """A network from a file of ``import-checkpoint``, on the CPU, for inference.

    ``precision`` is that of the transformer's blocks; the file's float32 is never in memory as a whole.

    Raises SessionError where the file is none, or is damaged.
    """
    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            return _with_weights(Path(path), file, precision).requires_grad_(False).eval()
    except (SafetensorError, OSError) as error:
        raise SessionError(f"{path}: not a .safetensors file ({error})") from error


def _with_weights(path: Path, file: Any, precision: torch.dtype) -> HamerNetwork | WilorNetwork:
    notes = file.metadata() or {}
    try:
        config = config_from_json(notes[NETWORK], notes[CONFIG])
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise SessionError(
            f"{path}: not a network of `hand-recon import-checkpoint`: it has no description of one ({error!r})"
        ) from error
    with torch.device("meta"):
        network = make_network(config)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    if found != expected:
        wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise SessionError(f"{path}: does not fit a {notes[NETWORK]} of {notes[CONFIG]}: {', '.join(wrong)}")
    lowered = tuple(f"backbone.{name}" for name in LOWERED)
    tensors = {
        name: file.get_tensor(name).to(precision) if name.startswith(lowered) else file.get_tensor(name)
        for name in expected
    }
    network.load_state_dict(tensors, assign=True)
    return network
