#!/usr/bin/env python3
"""Make the embedded hand model from the rigged hand of the npm package @webxr-input-profiles/assets (MIT).

    python tools/convert_webxr_hand.py right.glb                     # or the package's .tgz
    python tools/convert_webxr_hand.py --npm                         # fetches the package with `npm pack`

Writes hand_recon_ros/assets/hand/webxr_generic.npz: MANO's arrays, no pickles. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import numpy as np
from webxr_hand.correctives import pose_correctives
from webxr_hand.glb import read_skinned_mesh
from webxr_hand.regressor import joint_regressor
from webxr_hand.rig import PARENTS, build_rig
from webxr_hand.shape import COMPONENTS, displacements

PACKAGE = "@webxr-input-profiles/assets@1.0.20"
MEMBER = "package/dist/profiles/generic-hand/right.glb"
SOURCE_SHA256 = "291790c14f7f88a7f9bd35330c47392ed8e8d395ae6728f4bb7089f1bc1f2b96"
HOUSE_ORDER = [0, 13, 14, 15, 1, 2, 3, 4, 5, 6, 10, 11, 12, 7, 8, 9]
DEFAULT_OUT = pathlib.Path(__file__).resolve().parents[1] / "hand_recon_ros/assets/hand/webxr_generic.npz"


def read_source(path: pathlib.Path) -> bytes:
    """The bytes of right.glb, out of the package's .tgz or as a file; raises SystemExit where it is another file."""
    if path.suffix in (".tgz", ".gz"):
        with tarfile.open(path) as archive:
            member = archive.extractfile(MEMBER) if MEMBER in archive.getnames() else None
            if member is None:
                raise SystemExit(f"{path}: no file {MEMBER} in it; expected the npm package {PACKAGE}")
            content = member.read()
    else:
        content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SOURCE_SHA256:
        raise SystemExit(f"{path}: sha256 {digest}, expected {SOURCE_SHA256} (right.glb of {PACKAGE})")
    return content


def npm_pack(folder: str) -> pathlib.Path:
    """Path of the package as npm delivers it into ``folder``."""
    command = ["npm", "pack", "--silent", PACKAGE]
    result = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return pathlib.Path(folder) / result.stdout.strip().splitlines()[-1]


def convert(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of the hand model, named as in MANO's file, from the bytes of right.glb."""
    rig = build_rig(read_skinned_mesh(content))
    vertex_dirs, joint_dirs = displacements(rig)
    regressor = joint_regressor(rig, vertex_dirs, joint_dirs)
    f32 = np.float32

    def rounded(values: np.ndarray) -> np.ndarray:
        # A tenth of a micrometre: far below what matters, far above what differs between linear algebra libraries.
        return (np.round(values, 7) + 0.0).astype(f32)

    return {
        "v_template": rounded(rig.vertices),
        "shapedirs": rounded(vertex_dirs),
        "posedirs": rounded(pose_correctives(rig)),
        "J_regressor": np.round(regressor, 10),
        "weights": rounded(rig.weights),
        "kintree_table": np.stack([np.where(PARENTS < 0, 2**32 - 1, PARENTS), np.arange(16)]).astype(np.int64),
        "f": rig.faces.astype(np.int32),
        "hands_components": np.eye(45, dtype=f32),
        "hands_componentsl": np.eye(45, dtype=f32),
        "hands_mean": np.zeros(45, f32),
        "hands_coeffs": np.zeros((1, 45), f32),
        # Not in MANO's file: ours, thumb to little finger like the package's own skeleton.
        "joint_frames": np.round(rig.frames[HOUSE_ORDER], 9),
        "tip_vertices": rig.tips[[4, 0, 1, 3, 2]].astype(np.int32),
        "wrist_loop": rig.wrist_loop.astype(np.int32),
        "shape_names": np.array(COMPONENTS),
    }


def write_npz(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz whose bytes depend on the arrays only (numpy's own carries the time of writing)."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, buffer.getvalue(), compresslevel=9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("source", nargs="?", type=pathlib.Path, help="right.glb, or the npm package as .tgz")
    source.add_argument("--npm", action="store_true", help=f"get {PACKAGE} with `npm pack`")
    parser.add_argument("--out", type=pathlib.Path, default=DEFAULT_OUT, help="file to write (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = read_source(npm_pack(folder) if arguments.npm else arguments.source)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_npz(arguments.out, convert(content))
    digest = hashlib.sha256(arguments.out.read_bytes()).hexdigest()
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, sha256 {digest}", file=sys.stderr)


if __name__ == "__main__":
    main()
