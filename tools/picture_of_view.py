#!/usr/bin/env python3
"""Write docs/images/view.png, ``hand-recon view`` in headless Chromium: ``.venv/bin/python tools/picture_of_view.py``.

The hands are those that the reconstruction finds in the first frames of the demonstration's clip. Needs Chromium.
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test"))

from chromium_support import Chromium, chromium_path  # noqa: E402

from hand_recon_ros import TwoHandReconstructor  # noqa: E402
from hand_recon_ros.evaluation.synthetic import SPLITS  # noqa: E402
from hand_recon_ros.runtime.model_files import cache_dir  # noqa: E402
from hand_recon_ros.synthetic import load_clip, rendered_clip  # noqa: E402
from hand_recon_ros.viewer.browser import Browser  # noqa: E402
from hand_recon_ros.viewer.frames import Picture, ViewedFrame  # noqa: E402

FRAMES, RATE, SIZE = 40, 30.0, (1150, 620)
SETTLING = 40.0
"""Time that software rendering may take for the last frame, seconds."""


def main() -> int:
    if chromium_path() is None:
        print("no Chromium: apt install chromium, or set CHROMIUM to one", file=sys.stderr)
        return 1
    ((view, seed),) = SPLITS["demo"]
    clip = load_clip(rendered_clip(cache_dir() / "clips", FRAMES, seed, view))
    reconstructor = TwoHandReconstructor.from_config()
    with Browser("127.0.0.1", 0, 30.0) as browser, Chromium(*SIZE) as chromium:
        chromium.open(browser.url)
        for number, image in enumerate(clip.images()):
            estimate = reconstructor(image, clip.camera, stamp=number / RATE)
            picture = functools.partial(Picture, image, clip.camera)
            browser.show(ViewedFrame(estimate, picture, frame_id="camera_color_optical_frame"))
            time.sleep(1.0 / RATE)
        time.sleep(SETTLING)
        # viser's note that rendering is slow without a GPU.
        chromium.call(
            "Runtime.evaluate", expression="document.querySelector('.mantine-Notification-closeButton').click()"
        )
        time.sleep(5.0)
        chromium.picture(ROOT / "docs" / "images" / "view.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
