"""Fit the collision proxies of the embedded hand and write them beside it: python tools/fit_collision_proxies.py"""

from __future__ import annotations

import numpy as np

from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.capsule_fit import fit_spheres
from hand_recon_ros.hand_model.collision_capsules import EMBEDDED
from hand_recon_ros.types import Side


def main() -> None:
    fitted = fit_spheres(load_hand_model(), Side.RIGHT)
    arrays = {name: array.astype(np.uint8 if name == "pairs" else np.float32) for name, array in fitted.items()}
    np.savez_compressed(EMBEDDED, **arrays)
    print(f"{EMBEDDED.name}: {len(arrays['radii'])} spheres, {len(arrays['pairs'])} capsules")


if __name__ == "__main__":
    main()
