"""The service ``~/reconstruct``: both hands in one image that comes with the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conversions.cameras import CameraInfos
from ..conversions.frames import ContinuousPoses
from ..conversions.hands import publishable
from ..conversions.images import InputError
from ..conversions.problems import Problems
from .images import decode
from .messages import build_hands_message
from .parameters import NodeConfig
from .worker import Worker

_IMAGE, _INFO = "the request's image", "the request's camera_info"


class SingleImages:
    """See ``srv/Reconstruct.srv``.

    Args:
        state: returns the label of the node's lifecycle state, for the message.
        worker: returns the node's worker, None while it is not active.
        config: returns the node's parameters.
        problems: estimates that cannot be published are reported here.
    """

    def __init__(
        self,
        state: Callable[[], str],
        worker: Callable[[], Worker | None],
        config: Callable[[], NodeConfig],
        problems: Problems,
    ) -> None:
        self._state, self._worker, self._config, self._problems = state, worker, config, problems

    def reconstruct(self, request: Any, response: Any) -> str:
        """Reconstruct the hands of a request's image; returns the message, empty where that succeeds."""
        worker, config = self._worker(), self._config()
        if worker is None:
            return f"the node is {self._state()}, activate it first"
        header = request.image.header
        infos = CameraInfos(_IMAGE, _INFO)
        if any(request.camera_info.k):
            infos.add(request.camera_info)
        try:
            picture = decode(request.image, _IMAGE)
            height, width = picture.shape[:2]
            camera = infos.camera(header.stamp, width, height, config.rectified, config.fallback_fov)
        except InputError as error:
            return str(error)
        estimate = worker.reconstruct_image(picture, camera)
        if estimate is None:
            return "the image in work takes long: try again"
        estimate = publishable(estimate, self._problems)
        poses, model = ContinuousPoses()(estimate), worker.hand_model
        response.hands = build_hands_message(estimate, poses, header, model, (width, height), 0)
        response.success = True
        return ""
