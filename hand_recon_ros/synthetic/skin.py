"""Textures of hands and arms: skin tone, nails, creases, gloves and cloth, on the faces of the surface.

A texture is a triangular grid of values on every face (mesh colours, Yuksel, Keyser & House 2010): it needs no UV
parametrisation and moves with the skin. Its height channel is a bump map.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..hand_model import HandModel
from ..types import Side
from .anatomy import SkinFeatures, skin_features
from .noise import fractal_noise
from .surface import FOREARM, SLEEVE, Arm, Surface, limb_topology

GRID = 5
"""Texture cells along each edge of a face."""
RED, GREEN, BLUE, GLOSS, HEIGHT = range(5)
"""Channels of a texture: linear albedo, gloss 0..1, height in metres."""

_GLOVE_END = 0.035
"""Where gloves end, metres along the forearm."""
_TONES = np.array(
    [(240, 200, 176), (228, 178, 146), (206, 152, 116), (170, 118, 86), (122, 82, 58), (80, 54, 42)], dtype=float
)
"""Skin of the back of the hand, sRGB, light to dark."""


@dataclasses.dataclass(frozen=True)
class Appearance:
    """Appearance of a person's hands and sleeves.

    Attributes:
        tone: skin tone, 0 light to 1 dark.
        redness: blood in the skin, about -1..1.
        veins: their visibility, 0..1.
        creases: depth of lines and wrinkles, about 0.5..1.5.
        freckles: their density, 0..1.
        gloss: of the skin, 0 dry to 1 oily.
        polish: sRGB colour of painted nails, or None.
        glove: sRGB colour of a glove that covers hand and wrist, or None.
        cloth: sRGB colour of the sleeve.
        stripes: width of the sleeve's stripes, metres; 0 for plain cloth.
        seed: of the noise in the textures.
    """

    tone: float = 0.2
    redness: float = 0.0
    veins: float = 0.4
    creases: float = 1.0
    freckles: float = 0.3
    gloss: float = 0.4
    polish: tuple[int, int, int] | None = None
    cloth: tuple[int, int, int] = (60, 70, 90)
    stripes: float = 0.0
    seed: int = 0
    glove: tuple[int, int, int] | None = None

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Appearance:
        """A random person."""
        return cls(
            tone=float(rng.uniform(0.0, 1.0) ** 1.2),
            redness=float(rng.normal(0.0, 0.5)),
            veins=float(rng.uniform(0.0, 1.0)),
            creases=float(rng.uniform(0.5, 1.4)),
            freckles=float(rng.uniform(0.0, 1.0) ** 2),
            gloss=float(rng.uniform(0.1, 0.8)),
            polish=tuple(int(c) for c in rng.integers(20, 240, 3)) if rng.random() < 0.12 else None,  # type: ignore[arg-type]
            cloth=tuple(int(c) for c in np.clip(rng.uniform(25, 215) + rng.normal(0, 28, 3), 10, 245)),  # type: ignore[arg-type]
            stripes=float(rng.uniform(0.008, 0.02)) if rng.random() < 0.25 else 0.0,
            seed=int(rng.integers(2**31)),
        )


def to_linear(srgb: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Linear intensity 0..1 of sRGB values 0..255."""
    x = np.asarray(srgb, dtype=np.float64) / 255.0
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: np.ndarray) -> tuple[float, float, float]:
    """sRGB 0..255 of a linear colour (3,)."""
    x = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0.0) ** (1 / 2.4) - 0.055)
    red, green, blue = map(float, 255.0 * x)
    return red, green, blue


def skin_colour(tone: float) -> np.ndarray:
    """Linear RGB (3,) of the back of the hand for a tone 0 (light) to 1 (dark)."""
    position = np.clip(tone, 0, 1) * (len(_TONES) - 1)
    low = min(int(position), len(_TONES) - 2)
    return to_linear(_TONES[low] + (position - low) * (_TONES[low + 1] - _TONES[low]))


def grid_of(texture: np.ndarray) -> int:
    """Cells along each edge of a face of a texture (F, T, 5)."""
    return int((np.sqrt(8 * texture.shape[1] + 1) - 3) / 2 + 0.5)


def texel_weights(grid: int = GRID) -> np.ndarray:
    """Barycentric coordinates (T, 3) of a face's texels; of texel (i, j) the last two are i / grid and j / grid."""
    pairs = [(i, j) for j in range(grid + 1) for i in range(grid + 1 - j)]
    second, third = np.array(pairs, dtype=np.float64).T / grid
    return np.stack([1 - second - third, second, third], axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class _RestTexels:
    """The texels of a surface at rest: positions (N, 3) and distances ``along`` the forearm (N,), metres, kinds of the
    faces (N,), and skin features."""

    points: np.ndarray
    along: np.ndarray
    kinds: np.ndarray
    features: SkinFeatures


@functools.lru_cache(maxsize=32)
def _rest_texels(hand_model: HandModel, side: Side, sleeve: float, grid: int = GRID) -> _RestTexels:
    surface = rest_surface(hand_model, side, Arm(sleeve=sleeve))
    weights = texel_weights(grid)
    points = np.einsum("tk,fkc->ftc", weights, surface.vertices[surface.faces]).reshape(-1, 3)
    normals = np.einsum("tk,fkc->ftc", weights, surface.normals[surface.faces]).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    topology = limb_topology(hand_model, side)
    ring = surface.vertices[topology.ring]
    axis = surface.vertices[-len(topology.ring) :].mean(axis=0) - ring.mean(axis=0)
    along = (points - ring.mean(axis=0)) @ (axis / np.linalg.norm(axis))
    features = skin_features(points, normals, hand_model.kinematics(side))
    return _RestTexels(points, along, np.repeat(surface.kinds, len(weights)), features)


def rest_surface(hand_model: HandModel, side: Side, arm: Arm) -> Surface:
    """The rendered surface of the flat hand of average shape with a straight forearm."""
    rotations = np.broadcast_to(np.eye(3), (16, 3, 3))
    betas = np.zeros(hand_model.kinematics(side).keypoint_shapedirs.shape[-1])
    vertices = hand_model.mesh(side, rotations, betas, np.zeros(3))
    straight = dataclasses.replace(arm, bend=(0.0, 0.0))
    return limb_topology(hand_model, side).surface(vertices, hand_model.kinematics(side).keypoint_template, straight)


def bake_texture(
    hand_model: HandModel, side: Side, sleeve: float, appearance: Appearance, grid: int = GRID
) -> np.ndarray:
    """The texture (F, T, 5) float32 of a limb's surface, whose faces depend on where the ``sleeve`` begins, metres.

    ``grid`` is the number of cells along each edge of a face: small images need few.
    """
    texels = _rest_texels(hand_model, side, sleeve, grid)
    # Another seed for each side: a person's hands are not mirror images of each other.
    texture = _skin(texels, appearance, appearance.seed + 7 * int(side))
    if appearance.glove is not None:
        _add_glove(texture, texels, appearance, appearance.glove)
    cloth = texels.kinds == SLEEVE
    if cloth.any():
        texture[cloth] = _cloth(texels.points[cloth], texels.along[cloth], appearance)
    return texture.reshape(-1, len(texel_weights(grid)), 5).astype(np.float32)


def _skin(texels: _RestTexels, appearance: Appearance, seed: int) -> np.ndarray:
    points, features = texels.points, texels.features
    arm = texels.kinds == FOREARM
    back = skin_colour(appearance.tone)
    palm = to_linear((236.0, 182.0, 160.0)) * (0.55 + 0.45 * back.mean() / to_linear(_TONES[0]).mean())
    palm = 0.35 * back + 0.65 * palm
    albedo = palm + features.dorsal[:, None] * (back - palm)
    blood = (
        0.35 * appearance.redness + 0.9 * features.tip + 0.5 * features.mound + 0.55 * np.clip(features.knuckle, 0, 1)
    )
    blood += 0.55 * fractal_noise(points, 90.0, 3, seed) + 0.25 * fractal_noise(points, 500.0, 2, seed + 1)
    strength = 0.10 + 0.10 * (1 - appearance.tone)
    albedo *= np.exp(blood[:, None] * strength * np.array([0.25, -1.0, -0.8]))
    shade = 0.05 * fractal_noise(points, 60.0, 3, seed + 2) + 0.05 * fractal_noise(points, 900.0, 2, seed + 3)
    shade -= 0.10 * np.clip(features.knuckle, 0, 1) * (0.4 + appearance.tone)
    freckles = np.clip(fractal_noise(points, 420.0, 2, seed + 4) - 0.45, 0, 1) * features.dorsal
    shade -= 0.8 * appearance.freckles * freckles * (1 - appearance.tone)
    crease = np.clip(features.crease, 0, 1.3) * appearance.creases * (1 - arm)
    albedo *= np.exp(shade)[:, None] * np.exp(-crease[:, None] * np.array([0.42, 0.62, 0.62]))
    vein = (
        _veins(points, seed + 5)
        * features.dorsal
        * appearance.veins
        * (1 - np.clip(features.nail + features.tip, 0, 1))
    )
    albedo *= np.exp(vein[:, None] * np.array([-0.30, -0.10, -0.06]))
    pores = fractal_noise(points, 1400.0, 2, seed + 6)
    height = 0.00005 * pores - 0.00028 * crease + 0.00010 * appearance.creases * features.wrinkle
    height += 0.00022 * vein + 0.0004 * features.tendon * appearance.veins
    gloss = np.clip(appearance.gloss + 0.12 * pores - 0.15 * crease, 0, 1)
    _paint_nails(albedo, gloss, height, features, appearance, palm)
    return np.column_stack([np.clip(albedo, 0.004, 0.95), gloss, height])


def _veins(points: np.ndarray, seed: int) -> np.ndarray:
    """Strength (N,) 0..1 of a branching network that mostly runs along the hand."""
    bent = points + 0.006 * np.column_stack([fractal_noise(points, 70.0, 2, seed + k) for k in range(3)])
    # The hand at rest lies along x.
    field = fractal_noise(bent * (0.45, 1.0, 1.0), 95.0, 1, seed + 3)
    return np.exp(-((field / 0.07) ** 2))


def _paint_nails(
    albedo: np.ndarray,
    gloss: np.ndarray,
    height: np.ndarray,
    features: SkinFeatures,
    appearance: Appearance,
    palm: np.ndarray,
) -> None:
    nail = features.nail[:, None]
    if appearance.polish is not None:
        plate = np.broadcast_to(to_linear(appearance.polish), albedo.shape)
    else:
        dimmed = 0.35 + 0.65 * palm.mean() / to_linear((236.0, 182.0, 160.0)).mean()
        bed = 0.6 * dimmed * to_linear((228.0, 166.0, 150.0)) + 0.4 * palm
        plate = bed + 0.3 * dimmed * features.lunula[:, None] * (to_linear((238.0, 210.0, 200.0)) - bed)
        plate = plate + 0.6 * features.free_edge[:, None] * (dimmed * to_linear((236.0, 222.0, 204.0)) - plate)
    albedo += nail * (plate - albedo)
    albedo *= np.exp(-0.45 * features.nail_edge[:, None] * np.array([0.7, 1.0, 1.0]))
    gloss += features.nail * (0.85 - gloss)
    height += features.nail * (0.00010 - height) - 0.00018 * features.nail_edge


def _add_glove(texture: np.ndarray, texels: _RestTexels, appearance: Appearance, colour: tuple[int, int, int]) -> None:
    """Cover hand and wrist with a glove; the appearance's gloss makes it anything from latex to wool."""
    covered = (texels.kinds != SLEEVE) & (texels.along < _GLOVE_END)
    points = texels.points[covered]
    weave = fractal_noise(points, 700.0, 2, appearance.seed + 21)
    wrinkles = fractal_noise(points, 150.0, 2, appearance.seed + 22)
    seam = np.exp(-(((texels.along[covered] - _GLOVE_END + 0.003) / 0.0012) ** 2))
    shade = (0.16 * (1 - appearance.gloss) * weave + 0.10 * wrinkles - 0.3 * seam)[:, None]
    texture[covered, :3] = np.clip(to_linear(colour) * np.exp(shade), 0.004, 0.95)
    texture[covered, GLOSS] = np.clip(0.9 * appearance.gloss - 0.1, 0.02, 1.0)
    texture[covered, HEIGHT] = 0.0001 * weave + 0.0006 * wrinkles + 0.0003 * seam


def _cloth(points: np.ndarray, along: np.ndarray, appearance: Appearance) -> np.ndarray:
    colour = to_linear(appearance.cloth)
    albedo = np.repeat(colour[None], len(points), axis=0)
    if appearance.stripes > 0:
        albedo *= np.where(np.sin(np.pi * along / appearance.stripes) > 0, 1.0, 0.45)[:, None]
    weave = fractal_noise(points, 1100.0, 2, appearance.seed + 11)
    albedo *= np.exp(0.18 * weave + 0.10 * fractal_noise(points, 80.0, 2, appearance.seed + 12))[:, None]
    # The cuff's seam.
    seam = np.exp(-(((along - along.min() - 0.012) / 0.0008) ** 2))
    albedo *= 1 - 0.35 * seam[:, None]
    height = 0.00012 * weave + 0.0009 * fractal_noise(points, 60.0, 2, appearance.seed + 13) - 0.0002 * seam
    return np.column_stack([np.clip(albedo, 0.004, 0.95), np.full(len(points), 0.02), height])
