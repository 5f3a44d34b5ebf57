"""Draw the stand-in for JAFFE: 213 grey portraits of ten women who do not exist, showing seven emotions.

JAFFE may not be handed on, so these drawings take its place on a fresh machine. They have its file names, counts,
size, framing and file modes, and nothing else of it: a result on them says nothing about JAFFE.

    python data/standin.py [--out data/standin]
    python data/standin.py --sheet data/standin.png      one picture instead: the first take of every person and emotion

It takes less than ten seconds, needs numpy and Pillow alone, writes the same pictures every time and ends with one
line: the number of faces and their folder.

A face is drawn in two steps. `action_units` turns an emotion into the muscle movements ("action units", AU) by which
the facial action coding system describes it; `draw_face` moves brows, lids, nose, mouth and jaw by them and paints
the portrait at twice its size. Lengths are in pixels of the finished picture; x counts from the middle of the face.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

EMOTIONS = ["AN", "DI", "FE", "HA", "NE", "SA", "SU"]
DESCRIPTION = "drawn stand-in face, not a photograph"

# Three takes of each person and emotion, but for these cells: so every row and column has as many faces as in JAFFE.
OTHER_TAKES = {("KA", "FE"): 4, ("KA", "HA"): 4, ("KL", "FE"): 4, ("KM", "SA"): 4, ("YM", "NE"): 4,
               ("KR", "DI"): 2, ("NM", "NE"): 2}
PALETTE_EVERY = 9  # each ninth file is a palette TIFF: 23 of 213
PALETTE_SHIFT = 96  # its indices are the greys rolled by this much, so an index is never the grey it stands for

SIZE = 256
SCALE = 2  # the portrait is painted this much larger and scaled down
MARGIN = 20  # painted around the picture, so that turning the head uncovers no edge
MIDDLE = 130.5  # the face's midline: the middle of the crop (50, 65, side 161)


@dataclass
class Person:
    """What stays the same in all portraits of one person: lengths in pixels, tones from 0 (black) to 255."""

    face: float = 65  # half width at the cheekbones
    jaw: float = 50  # half width at the mouth
    chin: float = 221  # its height in the picture
    eyes: float = 31  # distance of an eye from the midline
    eye_size: float = 13  # half width of an eye
    eye_open: float = 5.6  # the upper lid's height above the corners
    slant: float = 1.0  # how much higher the outer corner of the eye lies
    crease: float = 4.0  # the fold above the upper lid; 0: none
    iris: float = 60
    brow: float = 107
    brow_thick: float = 4.5
    brow_arch: float = 4.0
    nose: float = 163  # the height of its base
    nose_width: float = 13
    mouth: float = 187
    mouth_width: float = 24
    lips: float = 6.5  # thickness of the lower lip
    skin: float = 205
    hair: float = 58
    style: str = "long"  # long, bob, tied, short
    parting: float = 0.0  # its place right of the midline
    fringe: float = 0.0  # how far the fringe hangs down
    light: float = -0.4  # where the light comes from: -1 left, 1 right
    backdrop: float = 150
    clothes: float = 90


PEOPLE = {
    "KA": Person(style="long", fringe=46, parting=4),
    "KL": Person(face=68, jaw=55, chin=219, eye_open=5.0, slant=2.0, crease=0, brow_thick=3.6, lips=5.5, style="bob",
                 parting=-18, skin=214, light=0.5, backdrop=120, clothes=60, mouth_width=22),
    "KM": Person(face=63, jaw=46, chin=224, eyes=30, eye_size=14, eye_open=6.6, brow=105, brow_arch=5.5, nose=165,
                 nose_width=12, skin=192, hair=47, style="tied", backdrop=170, clothes=200, light=0.2, parting=12),
    "KR": Person(face=67, jaw=53, eyes=32.5, eye_size=12.5, slant=0, brow=109, brow_thick=5.6, brow_arch=2.0, nose=161,
                 nose_width=15, mouth_width=26, lips=7.5, skin=178, hair=51, style="short", light=-0.7, backdrop=130,
                 parting=-25),
    "MK": Person(face=62, jaw=47, chin=222, eyes=30, eye_open=5.2, crease=3.2, brow=106, brow_thick=3.4,
                 nose_width=11.5, mouth_width=21, lips=6, skin=218, hair=79, style="long", parting=-14, light=0.6,
                 backdrop=175),
    "NA": Person(face=69, jaw=57, chin=220, eyes=32, eye_size=12.5, eye_open=4.8, slant=2.4, crease=0, brow=108,
                 brow_arch=3, nose=160, nose_width=14.5, mouth=185, skin=200, hair=54, style="bob", fringe=42,
                 backdrop=110, clothes=150, light=0.1),
    "NM": Person(face=64, jaw=49, chin=223, eye_size=13.5, eye_open=6.2, iris=85, brow=104, brow_thick=4, nose=166,
                 mouth=189, mouth_width=25, skin=210, hair=96, style="tied", backdrop=140, clothes=70,
                 light=-0.2),
    "TM": Person(face=66, jaw=52, chin=218, eyes=31.5, slant=-0.8, brow=110, brow_thick=5, brow_arch=3, nose=160,
                 mouth=184, nose_width=13.5, lips=7, skin=186, hair=45, style="bob", parting=22, light=-0.6,
                 backdrop=185, clothes=220),
    "UY": Person(face=63, jaw=50, chin=224, eyes=30, eye_open=5.4, brow=106, brow_thick=4.2, brow_arch=5, nose=165,
                 nose_width=12.5, mouth=190, mouth_width=23, lips=5, skin=222, hair=65, style="short", fringe=38,
                 light=0.35, backdrop=160, clothes=110, parting=8),
    "YM": Person(face=67, jaw=51, chin=221, eyes=32, eye_size=14, eye_open=6, slant=1.8, brow=106, brow_thick=3.8,
                 nose=163, mouth_width=25, lips=7.8, skin=197, hair=42, style="long", parting=20, light=-0.1,
                 backdrop=125, clothes=40),
}

# Full-strength action units of each emotion. 1 inner brow up, 2 outer brow up, 4 brows down and together, 5 upper lid
# up, 6 cheeks up, 7 lids tight, 9 nose wrinkled, 10 upper lip up, 12 lip corners up, 15 lip corners down, 17 chin up,
# 20 lips stretched, 23 lips tight, 24 lips pressed, 25 lips apart, 26 jaw down, 43 lids drooping.
UNITS = {
    "AN": {4: 1.1, 5: 0.5, 7: 0.6, 17: 0.3, 23: 0.7, 24: 0.8},
    "DI": {4: 0.4, 6: 0.3, 7: 0.5, 9: 1.0, 10: 0.9, 15: 0.4, 17: 0.3, 25: 0.6},
    "FE": {1: 0.9, 2: 0.4, 4: 0.55, 5: 0.8, 15: 0.1, 20: 0.9, 25: 0.5, 26: 0.35},
    "HA": {6: 0.8, 12: 1.0, 25: 1.0, 26: 0.1},
    "NE": {},
    "SA": {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.6, 43: 0.8},
    "SU": {1: 0.85, 2: 0.9, 5: 0.8, 25: 0.4, 26: 1.0},
}
# What an emotion is mixed with, as real portraits of it are.
NEIGHBOURS = {"AN": "DI SA", "DI": "AN SA", "FE": "SU SA", "HA": "NE SU", "NE": "SA AN", "SA": "NE FE", "SU": "FE NE"}
ALL_UNITS = [1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 24, 25, 26, 43]

JAW_DROP = 14  # pixels the lower jaw sinks at AU26
# With these spreads some portraits stay ambiguous: LeNet-5 gets six or seven test faces in ten right.
STRENGTH = (0.7, 1.25)  # of an expression, from take to take
MIXTURE = 0.25  # at most this share of a neighbouring emotion
HABIT = 0.2  # spread of how strongly one person uses one action unit
CONTRAST = 1.55  # of the film: on flatter pictures LeNet-5 often never leaves its starting loss


def takes(subject, emotion):
    """Number of portraits of this person showing this emotion."""
    return OTHER_TAKES.get((subject, emotion), 3)


def action_units(subject, emotion, take):
    """Strength of each action unit in one portrait, 0 to 1.3."""
    person, kind = list(PEOPLE).index(subject), EMOTIONS.index(emotion)
    habits = np.random.default_rng([person, kind, 7]).normal(1, HABIT, len(ALL_UNITS)).clip(0.2, 1.6)
    chance = np.random.default_rng([person, kind, take, 8])
    strength = chance.uniform(*STRENGTH)
    neighbour = chance.choice(NEIGHBOURS[emotion].split())
    share = chance.uniform(0, MIXTURE)
    units = {}
    for unit, habit, jitter in zip(ALL_UNITS, habits, chance.normal(1, 0.15, len(ALL_UNITS))):
        pure, mixed = UNITS[emotion].get(unit, 0), UNITS[neighbour].get(unit, 0)
        units[unit] = float(np.clip(strength * ((1 - share) * pure + share * mixed) * habit * jitter, 0, 1.3))
    return units


def curve(points, steps=8):
    """A smooth line through the points (Catmull-Rom spline)."""
    points = np.asarray(points, float)
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.arange(steps)[:, None] / steps
    a, b, c, d = (padded[k:len(padded) - 3 + k, None] for k in range(4))
    pieces = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([pieces.reshape(-1, 2), points[-1:]])


def mirrored(points, side):
    """The points for the left (-1) or right (1) half of the face."""
    return np.asarray(points, float) * [side, 1]


class Canvas:
    """A grey picture that shapes are painted on, softly or sharply."""

    def __init__(self, tone):
        self.side = (SIZE + 2 * MARGIN) * SCALE
        self.grey = np.full((self.side, self.side), tone, np.float32)

    def _mask(self, shapes, blur, width, clip):
        """Coverage (0 to 1) of polygons, or of lines if they have a width, and the part of the canvas it lies on."""
        every = np.vstack(shapes)
        pad = 3 * blur + (width or 0) + 2
        low = np.clip(np.floor(every.min(0) + [MIDDLE + MARGIN, MARGIN] - pad), 0, SIZE + 2 * MARGIN - 1).astype(int)
        high = np.clip(np.ceil(every.max(0) + [MIDDLE + MARGIN, MARGIN] + pad), low + 1, SIZE + 2 * MARGIN).astype(int)
        large = (high - low).prod() > 4000
        zoom = 1 if blur >= 2.5 else SCALE if blur >= 0.6 or large else 2 * SCALE  # soft edges need no fine grid
        size = tuple(int(n) for n in (high - low) * zoom)

        def drawn(outlines, line):
            image = Image.new("L", size)
            pen = ImageDraw.Draw(image)
            for outline in outlines:
                flat = ((outline + [MIDDLE + MARGIN, MARGIN] - low) * zoom).ravel().tolist()
                if line:
                    pen.line(flat, fill=255, width=max(1, round(line * zoom)), joint="curve")
                else:
                    pen.polygon(flat, fill=255)
            return image

        image = drawn(shapes, width)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur * zoom))
        if clip is not None:
            image = Image.composite(image, Image.new("L", size), drawn([clip], None))
        if zoom > SCALE:
            image = image.reduce(zoom // SCALE)
        elif zoom < SCALE:
            image = image.resize(tuple(n * SCALE // zoom for n in size), Image.BILINEAR)
        where = tuple(slice(a * SCALE, b * SCALE) for a, b in zip(low[::-1], high[::-1]))
        return np.asarray(image, np.float32) / 255, where

    def paint(self, shapes, tone, alpha=1.0, blur=0.0, width=None, clip=None):
        """Cover the shapes (one or a list) with a tone: a number, or a picture as large as the canvas."""
        mask, where = self._mask(shapes if isinstance(shapes, list) else [shapes], blur, width, clip)
        new = tone[where] if isinstance(tone, np.ndarray) else tone
        self.grey[where] += alpha * mask * (new - self.grey[where])

    def shade(self, shapes, amount, blur=0.0, width=None, clip=None):
        """Darken (amount below 0) or lighten by a share of what is there."""
        if abs(amount) > 0.004:
            mask, where = self._mask(shapes if isinstance(shapes, list) else [shapes], blur, width, clip)
            self.grey[where] *= 1 + amount * mask


def relief(person, units, at):
    """Brightness of the skin under the person's light: the face as a height map, seen from the front."""
    grid = np.arange(1, SIZE + 2 * MARGIN, 2) - MARGIN  # skin is smooth: every second pixel will do
    x, y = grid - MIDDLE, grid + 0.0
    inside = 1 - (x[None] / (person.face + 14)) ** 2 - ((y[:, None] - 132) / 108) ** 2
    height = 62 * np.sqrt(np.maximum(inside, 0.05))

    def bump(cx, cy, wide, tall, amount):
        cx, cy = at([[cx, cy]])[0]
        height[:] += amount * np.outer(np.exp(-(((y - cy) / tall) ** 2) / 2), np.exp(-(((x - cx) / wide) ** 2) / 2))

    tip = person.nose - 8 - 2 * units[9]
    for part in np.linspace(0, 1, 5):  # the bridge of the nose widens downwards
        bump(0, 120 + part * (tip - 120), 5.5 + 3 * part, 9, 0.6 + 2.6 * part**1.3)
    bump(0, tip, 8, 6.5, 4.5)
    smile = units[12] + 0.5 * units[6]
    drop = JAW_DROP * units[26]
    for side in (-1, 1):
        bump(side * person.nose_width * 0.75, person.nose - 4 - 3 * units[9], 4.5, 4.5, 3)
        bump(side * person.eyes, 122, 14, 9, -5)  # socket
        bump(side * person.eyes, 124, 9, 6, 2.5)  # eyeball
        bump(side * 30, person.brow + 2, 18, 6, 1.5 + 1.5 * units[4])
        bump(side * 38, 158 - 6 * smile, 14, 13, 2.5 + 4 * smile)  # cheek, lifted by AU6 and AU12
        bump(side * 56, 96, 12, 22, -2)  # temple
        bump(side * 36, 192 + drop, 9, 16, -2 + units[20])  # hollow beside the mouth
    bump(0, person.mouth, 24, 12, 4)
    bump(0, person.mouth + 16 + drop, 14, 4, -2.5)
    bump(0, person.chin - 12 + drop, 14, 9, 5 + 2 * units[17])
    dy, dx = np.gradient(height, 2)
    light = np.array([person.light * 0.5, -0.45, 1.0])
    light /= np.linalg.norm(light)
    length = np.sqrt(dx**2 + dy**2 + 1)
    lambert = np.maximum((-dx * light[0] - dy * light[1] + light[2]) / length, 0)
    field = person.skin * (0.22 + 0.65 * lambert + 0.06 * lambert**14)
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((2 * SCALE * len(grid),) * 2, Image.BICUBIC))


def draw_body(canvas, person, head):
    """Neck, shoulders and clothes."""
    tone = person.skin * 0.72
    neck = curve([(-37, 175), (-38, 215), (-44, 240), (-75, 262), (-75, 290)]).tolist()
    neck += [(-x, y) for x, y in neck[::-1]]
    neck = np.array(neck)
    canvas.paint(neck, tone)
    canvas.shade(head + [-4 * person.light, 9], -0.42, 5, clip=neck)  # the shadow of the chin
    clothes = curve([(-160, 290), (-135, 262), (-80, 243), (-50, 240), (-28, 262), (0, 270)]).tolist()
    clothes += [(-x, y) for x, y in clothes[::-1]]
    canvas.paint(np.array(clothes), person.clothes)
    canvas.shade(curve([(-50, 240), (-28, 262), (0, 270), (28, 262), (50, 240)]), -0.35, 1, 2)
    canvas.shade([curve(mirrored([(90, 250), (70, 268), (64, 292)], side)) for side in (-1, 1)], -0.25, 4, 3)


def head_outline(person, drop):
    """The contour of the head, clockwise; the jaw hangs lower by the drop."""
    face, jaw, chin = person.face, person.jaw, person.chin + drop
    half = [(0, 36), (34, 42), (face - 7, 70), (face, 108), (face, 138), (face - 4, 160), (jaw, 185 + 0.5 * drop),
            (jaw - 16, 205 + 0.8 * drop), (16, chin - 2), (0, chin)]
    right = curve(half)
    return np.vstack([right, mirrored(right, -1)[::-1]])


def hair_sides(person):
    """For each side the inner and the outer contour of the hair, from the parting to the tips."""
    face = person.face
    top = [(face + 6, 92), (face + 6, 120)] if person.style == "tied" else [(face + 13, 95), (face + 14, 135)]
    ends = {"long": [(face + 17, 175), (face + 20, 215), (face + 14, 262)],
            "bob": [(face + 17, 165), (face + 13, 190), (face - 2, 206), (face - 16, 203)],
            "tied": [(face + 3, 140), (face - 1, 150)],
            "short": [(face + 10, 152), (face + 1, 168)]}[person.style]
    inner_ends = {"long": [(face - 4, 165), (face - 6, 205), (face - 16, 262)],
                  "bob": [(face - 5, 160), (face - 8, 182), (face - 14, 196)],
                  "tied": [(face - 3, 132), (face - 2, 148)],
                  "short": [(face - 5, 140), (face - 4, 165)]}[person.style]
    for side in (-1, 1):
        p = person.parting * side
        outer = [(p - 1, 24), ((p + face) * 0.5, 29), (face + 2, 58)] + top + ends
        inner = [(p - 1, 58), ((p + face) * 0.5, 67), (face - 13, 86), (face - 5, 110)] + inner_ends
        yield mirrored(curve(inner), side), mirrored(curve(outer), side)


def resampled(line, count):
    """The same line as so many points."""
    at = np.linspace(0, len(line) - 1, count)
    return np.stack([np.interp(at, np.arange(len(line)), line[:, k]) for k in (0, 1)], 1)


def draw_back_hair(canvas, person):
    """The hair behind head and neck."""
    if person.style == "tied":
        angle = np.linspace(0, 2 * np.pi, 40)
        canvas.paint(np.stack([24 * np.cos(angle), 22 + 17 * np.sin(angle)], 1), person.hair * 0.9)
    if person.style in ("long", "bob"):
        for _, outer in hair_sides(person):
            canvas.paint(np.vstack([outer, [[0, outer[-1, 1] - 12], [0, 60]]]), person.hair * 0.65)


@lru_cache(maxsize=len(PEOPLE))
def front_hair(subject):
    """The hair that frames the face, the same in all portraits: its shadow, its tone and where it covers the face."""
    person, chance = PEOPLE[subject], np.random.default_rng([list(PEOPLE).index(subject), 10])
    shadow, tone, cover = Canvas(1), Canvas(person.hair), Canvas(0)
    lights, darks = [], []
    for inner, outer in hair_sides(person):
        shadow.shade(inner, -0.28, 4, 5)
        cover.paint(np.vstack([inner, outer[::-1]]), 1, blur=0.6)
        inner, outer = resampled(inner, 26), resampled(outer, 26)
        tone.paint((0.45 * inner + 0.55 * outer)[4:10], person.hair + 60, 0.35, 5, 8)  # sheen
        for _ in range(110):  # strands run between the two contours
            a, b = chance.uniform(0, 1, 2)
            share = np.linspace(a, a + 0.25 * (b - a), 26)[:, None]
            start, stop = sorted(chance.integers(0, 27, 2))
            if stop - start > 4:
                strand = ((1 - share) * inner + share * outer)[start:stop]
                (lights if chance.random() < 0.5 else darks).append(strand)
    if person.fringe:
        locks = []
        for x in np.linspace(9 - person.face, person.face - 9, 27):
            root, x = person.parting * 0.6 + 0.45 * x, x + chance.uniform(-1.5, 1.5)
            tip = 55 + person.fringe + chance.uniform(-3.5, 3.5) + 0.004 * x**2
            lock = curve([(root, 36), (0.7 * x + 0.3 * root, 58), (x, tip)], 9)
            half = 4.2 * (1 - np.linspace(0, 1, len(lock)) ** 3)[:, None] * [1, 0]  # a lock tapers to its tip
            locks.append(np.vstack([lock - half, (lock + half)[::-1]]))
            for _ in range(3):
                strand = lock + [chance.uniform(-2.5, 2.5), chance.uniform(-12, -2)]
                (lights if chance.random() < 0.4 else darks).append(strand)
        shadow.shade([lock + [0, 4] for lock in locks], -0.2, 3)
        cover.paint(locks, 1, blur=0.4)
    tone.paint(lights, person.hair + 55, 0.4, width=0.6)
    tone.paint(darks, person.hair * 0.5, 0.45, width=0.6)
    return shadow.grey, tone.grey, cover.grey


def draw_ears(canvas, person):
    """Ears, for those whose hair does not cover them."""
    if person.style in ("tied", "short"):
        for side in (-1, 1):
            f = person.face
            ear = curve(mirrored([(f - 3, 128), (f + 4, 121), (f + 10, 126), (f + 8, 145), (f + 3, 160), (f - 4, 160)],
                                 side))
            canvas.paint(ear, person.skin * 0.8, blur=0.7)
            canvas.shade(curve(mirrored([(f + 2, 130), (f + 6, 130), (f + 4, 145)], side)), -0.3, 1, 1.5)


def draw_eye(canvas, person, units, side, at):
    """One eye: AU5 lifts the upper lid, AU43 lets it droop, AU6 and AU7 raise the lower lid."""
    half = person.eye_size
    upper = max(1.2, person.eye_open + 3.6 * units[5] - 1.2 * units[7] - 1.0 * units[6] - 2.6 * units[43]
                - 0.8 * units[9] + 0.5 * units[1])
    lower = max(0.5, 3.8 + 0.6 * units[5] - 2.0 * units[7] - 2.4 * units[6] - 1.0 * units[9])
    s = np.linspace(-1, 1, 25)  # from the inner to the outer corner
    base = 125 - person.slant * s + (1.2 * units[43] - 0.8 * units[1]) * s
    x = person.eyes + half * s
    skew = 1 + (0.12 - 0.12 * units[43]) * s
    top_y = base - upper * (1 - np.abs(s) ** 2.3) * skew
    low_y = base + lower * (1 - np.abs(s) ** 2.0) * (1 + 0.15 * s)
    flip = lambda xs, ys: at(mirrored(np.stack([xs, ys], 1), side))
    top, low = flip(x, top_y), flip(x, low_y)
    opening = np.vstack([top, low[::-1]])

    canvas.shade(flip(x, base - 7), -0.10, 4, 7)  # socket
    canvas.shade(flip(x, base + 9 - 2 * units[6]), -0.08 - 0.10 * units[6] - 0.08 * units[7], 1.6, 2)  # bag
    canvas.paint(opening, min(238, person.skin * 0.6 + 105))
    angle = np.linspace(0, 2 * np.pi, 32)
    cx, cy, r = person.eyes, 124.2, 6.1
    disc = lambda radius, dx=0, dy=0: flip(cx + dx * side + radius * np.cos(angle), cy + dy + radius * np.sin(angle))
    canvas.paint(disc(r), person.iris * 0.75, blur=0.4, clip=opening)
    canvas.paint(disc(r - 1.6, 0, 0.6), person.iris * 1.15, 0.8, 0.6, clip=opening)
    canvas.paint(disc(2.4), 14, clip=opening)
    canvas.shade(top, -0.45, 1.2, 3.5, opening)  # the upper lid's shadow
    gleam = -2.0 if person.light < 0 else 2.0
    canvas.paint(disc(1.2, gleam, -2.0), 245, 0.95, clip=opening)
    thick = 1.3 * np.sin(np.linspace(0.3, np.pi * 0.85, 25)) + 0.6
    canvas.paint(np.vstack([top + [0, 0.4], (top - np.stack([0 * thick, thick], 1))[::-1]]), 22, 0.92, 0.25)  # lashes
    canvas.paint(flip(x[4:], low_y[4:] + 0.3), person.skin * 0.35, 0.5, 0.4, 0.7)
    if person.crease:
        lift = person.crease - 1.6 * units[5] - 0.8 * units[4] - units[9]
        canvas.paint(flip(x[2:], (top_y - max(lift, 1.2) * (1 - 0.4 * s**2))[2:]), person.skin * 0.4, 0.55, 0.6, 0.9)
    outer = person.eyes + half
    feet = [flip(outer + np.array([4, 11]), np.array([125 + 0.4 * turn, 126 + 1.4 * turn])) for turn in (-4.5, 0.5, 5)]
    canvas.shade(feet, -0.30 * max(0, units[6] - 0.15), 0.7, 1.1)  # crow's feet


def draw_brow(canvas, person, units, side, at, chance):
    """One eyebrow: AU1 lifts its inner end, AU2 its outer end, AU4 lowers it and pulls it to the midline."""
    t = np.linspace(0, 1, 14)
    inner, outer = 11 - 4.0 * units[4] - 1.5 * units[9], 49.0
    x = inner + (outer - inner) * t
    y = (person.brow + 1.5 - person.brow_arch * np.sin(np.pi * np.minimum(t * 0.85, 1)) + 3 * t**2
         - 8.5 * units[1] * (1 - t) ** 1.3 - 8 * units[2] * np.sin(np.pi * (0.25 + 0.55 * t))
         + 7.5 * units[4] * (1 - 0.75 * t) + 4 * units[9] * (1 - t))
    half = person.brow_thick / 2 * (0.75 + 0.6 * np.sin(np.pi * (0.2 + 0.5 * t))) * (1 - 0.75 * t**2.5)
    shape = np.vstack([np.stack([x, y - half], 1), np.stack([x, y + half], 1)[::-1]])
    tone = person.hair * 0.7
    canvas.paint(at(mirrored(shape, side)), tone, 0.75, 0.8)
    hairs = []
    for _ in range(36):
        k = chance.uniform(0, 0.95)
        hx, hy, hh = np.interp(k, t, x), np.interp(k, t, y), np.interp(k, t, half)
        hy += chance.uniform(-0.6, 1.0) * hh
        hairs.append(at(mirrored([(hx, hy + 0.5), (hx + 2.5 + 2 * k, hy - 1.6 + 2.6 * k)], side)))
    canvas.paint(hairs, tone * 0.6, 0.55, 0.25, 0.5)


def draw_nose(canvas, person, units, at):
    """Nose: AU9 pulls the wings up and wrinkles the bridge."""
    base, wide = person.nose - 2.5 * units[9] - 0.8 * units[10], person.nose_width + 1.2 * units[9] + units[12]
    shadow = 1 if person.light < 0 else -1
    canvas.shade(at(mirrored(curve([(6, 113), (5.5, 132), (8, base - 10)]), shadow)), -0.07, 3, 4)
    canvas.shade(at([(0, 126), (0, base - 9)]), 0.06, 2, 3)
    canvas.shade(at(curve([(-wide * 0.7, base + 3), (0, base + 4.5), (wide * 0.7, base + 3)])), -0.10, 2, 3)
    for side in (-1, 1):
        wing = curve([(wide - 2, base - 10), (wide, base - 4), (wide - 2, base + 0.5), (wide - 5, base)])
        canvas.shade(at(mirrored(wing, side)), -0.30 - 0.15 * units[9], 0.8, 1.3)
        hole = [(2.8, base + 0.5), (5, base - 2.0), (wide - 4.5, base - 0.6), (5.5, base + 1.4), (2.8, base + 0.5)]
        canvas.paint(at(mirrored(curve(hole), side)), person.skin * 0.22, 0.75, 0.5)
        wrinkles = [[(2.5 + k, 121 + 5 * k), (9 + 1.5 * k, 117 + 6.5 * k)] for k in range(3)]  # beside the bridge
        canvas.shade([at(mirrored(line, side)) for line in wrinkles], -0.33 * units[9], 0.8, 1.2)
        brow_line = curve([(4.5, 118), (5.2, 108), (4, 101)])  # between the brows, by AU4
        canvas.shade(at(mirrored(brow_line, side)), -0.38 * max(0, units[4] - 0.1), 0.9, 1.5)
    canvas.shade(at(curve([(-3, base + 0.6), (0, base + 1.6), (3, base + 0.6)])), -0.25, 0.7, 1)


def draw_mouth(canvas, person, units, at, chance):
    """Lips, teeth and the dark of the mouth; every action unit from 10 to 26 works here."""
    drop = JAW_DROP * units[26]
    wide = person.mouth_width + 7 * units[12] + 6.5 * units[20] - 4 * units[23] - 5.5 * units[26] + units[15]
    corner = (-6.5 * units[12] + 5.5 * units[15] + 1.0 * units[20] + 0.35 * drop)
    raised = 4.5 * units[10] + 1.5 * units[9] + 1.2 * units[12]
    gap = 4.5 * units[25] + 3.0 * max(0, units[10] - 0.5) + 1.25 * drop + 2.0 * units[20] * units[25]
    thin = 1 - 0.55 * min(1, units[24]) - 0.15 * units[23] - 0.22 * units[12] - 0.2 * units[20]
    up, down = person.lips * 0.75 * max(0.3, thin), person.lips * max(0.35, thin) * (1 + 0.2 * units[17])
    middle = person.mouth - raised - 2.5 * units[17]
    s = np.linspace(-1, 1, 41)
    x = wide * s
    lean = chance.normal(0, 0.7)
    ends = person.mouth - 0.4 * raised + corner + lean * s
    power = 2.0 + 0.9 * units[26] + 0.8 * units[20]

    def edge(centre, bend):
        return centre + (ends - centre) * np.abs(s) ** bend

    bow = 0.9 * np.exp(-((s / 0.15) ** 2)) - 0.6 * np.exp(-(((np.abs(s) - 0.28) / 0.2) ** 2))
    top = edge(middle - up, 1.7) + bow * min(1, thin + 0.2)
    inner_top = edge(middle + 0.25 * bow, power)
    inner_low = edge(middle + gap, power)
    low = edge(middle + gap + down, power + 0.2)
    line = lambda y, keep=slice(None): at(np.stack([x, y], 1)[keep])
    outline = lambda a, b: np.vstack([line(a), line(b)[::-1]])
    lip = person.skin * 0.52

    canvas.shade(line(low + 3.5, slice(8, 33)), -0.16 - 0.08 * units[17], 2.2, 3)  # below the lower lip
    canvas.shade(at([(0, person.nose + 6), (0, middle - up - 1)]), -0.07, 1.5, 3)  # philtrum
    if gap > 0.6:
        inside = outline(inner_top, inner_low)
        canvas.paint(inside, 18)
        if gap > 1.5:
            length = min(7.5, 0.9 * gap + 1) * (0.45 if units[26] > 0.5 else 1)
            teeth = edge(middle + length, power)
            keep = slice(5, 36)
            canvas.paint(np.vstack([line(inner_top - 1, keep), line(teeth, keep)[::-1]]), 235, 0.95, 0.3, clip=inside)
            gaps = [at([(k * wide / 6.5, middle - 3), (k * wide / 6.5, middle + length)]) for k in range(-5, 6)]
            canvas.shade(gaps, -0.13, 0.4, 0.5, inside)
            canvas.shade(line(inner_top), -0.4, 1.3, 3, inside)
        if gap > 8:
            tongue = edge(middle + gap * 0.62, 3)
            canvas.paint(outline(tongue, inner_low), lip * 0.62, 0.8, 1, clip=inside)
    canvas.paint(outline(top, inner_top), lip * 0.88, 0.85, 0.5)
    canvas.paint(outline(inner_low, low), lip * 1.05, 0.85, 0.5)
    canvas.shade(line(0.45 * inner_low + 0.55 * low, slice(12, 29)), 0.16, 1.2, 2)
    canvas.shade(line(low, slice(9, 32)), -0.12, 0.8, 1)
    canvas.paint(line(inner_top), 34, 0.75, 0.4, 0.9 + 0.5 * units[24])
    if gap > 0.6:
        canvas.paint(line(inner_low), 34, 0.4, 0.5, 0.7)
    for side in (-1, 1):
        tip = person.mouth - 0.4 * raised + corner + lean * side
        canvas.shade(at([(side * (wide - 0.5), tip), (side * (wide + 2.5), tip - 1.2 * units[12] + 1.5 * units[15])]),
                     -0.4, 1, 1.8)
        depth = 0.06 + 0.26 * units[12] + 0.3 * units[10] + 0.2 * units[9] + 0.12 * units[15] + 0.1 * units[20]
        fold = curve([(person.nose_width + 2, person.nose - 8 - 3 * units[9]),
                      (person.nose_width + 10 + 3 * units[12], person.nose + 4 - 2 * units[10]),
                      (wide + 6 + 2 * units[12], tip - 3)])
        canvas.shade(at(mirrored(fold, side)), -min(0.42, depth), 1.3, 2)
        canvas.shade(at(mirrored([(wide + 2, tip + 3), (wide + 3, tip + 12)], side)), -0.22 * units[15], 1.4, 2)
    spots = chance.uniform([-9, -4], [9, 4], (5, 2)) + [0, person.chin - 14 + drop]
    canvas.shade([at([spot, spot + [3, 1]]) for spot in spots], -0.2 * units[17], 1.1, 1.6)  # AU17 puckers the chin


def draw_face(subject, emotion, take):
    """One portrait as an array of greys, 256 x 256."""
    person, units = PEOPLE[subject], action_units(subject, emotion, take)
    key = [list(PEOPLE).index(subject), EMOTIONS.index(emotion), take]
    chance, strands = np.random.default_rng([*key, 9]), np.random.default_rng([key[0], 10])
    turned = chance.normal(0, 0.5, 2) * [3, 2]
    drop = JAW_DROP * units[26]

    def at(points):
        """Where points of the face lie when the head is turned a little: the nearer, the further they move."""
        points = np.array(points, float)
        return points + np.maximum(1 - (points[:, :1] / 75) ** 2, 0) * turned

    canvas = Canvas(person.backdrop)
    canvas.grey *= np.linspace(1.06, 0.9, canvas.side, dtype=np.float32)[:, None]
    draw_back_hair(canvas, person)
    head = head_outline(person, 0.75 * drop)
    draw_body(canvas, person, head)
    draw_ears(canvas, person)
    canvas.paint(head, relief(person, units, at))
    creases = [at(curve([(-34, y + 1), (-16, y - 2), (0, y), (16, y - 2), (34, y + 1)])) for y in (70, 79, 88)]
    depth = 0.11 * max(0, units[1] - 0.2) * (1 + min(1, units[2] + units[4]))
    canvas.shade(creases, -depth, 1.1, 1.4)  # AU1 and AU2 crease the forehead
    draw_nose(canvas, person, units, at)
    draw_mouth(canvas, person, units, at, chance)
    for side in (-1, 1):
        draw_eye(canvas, person, units, side, at)
        draw_brow(canvas, person, units, side, at, strands)
    shadow, tone, cover = front_hair(subject)
    canvas.grey *= shadow
    canvas.grey += cover * (tone - canvas.grey)

    # Pose, exposure and film differ from take to take.
    turn, size = np.radians(chance.normal(0, 1.5)), 1 + chance.normal(0, 0.015)
    dx, dy = chance.normal(0, 1.8, 2)
    centre = np.array([MIDDLE + MARGIN, 140 + MARGIN]) * SCALE
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / size
    shift = centre - matrix @ (np.array([MIDDLE + dx, 140 + dy]) * SCALE)
    image = Image.fromarray(canvas.grey.clip(0, 255).astype(np.uint8)).transform(
        (SIZE * SCALE, SIZE * SCALE), Image.AFFINE, [*matrix[0], shift[0], *matrix[1], shift[1]], Image.BILINEAR)
    grey = np.asarray(image.reduce(SCALE), np.float32)
    across = np.linspace(-1, 1, SIZE)
    slope = 1 + chance.normal(0, 0.03) * across[None] + chance.normal(0, 0.03) * across[:, None]
    grey = 105 + CONTRAST * (grey * slope * (1 + chance.normal(0, 0.025)) + chance.normal(0, 2) - 105)
    grey = grey + 2.2 * chance.standard_normal(grey.shape, np.float32)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def portraits():
    """(file name, subject, emotion, take, running number) of all 213 faces."""
    number = 0
    for subject in PEOPLE:
        for emotion in EMOTIONS:
            for take in range(1, takes(subject, emotion) + 1):
                number += 1
                yield f"{subject}.{emotion}{take}.{number}.tiff", subject, emotion, take, number


def save(grey, path, palette):
    """Write a TIFF: the greys themselves, or indices into a rolled palette of greys."""
    image = Image.fromarray(grey + np.uint8(PALETTE_SHIFT) if palette else grey)
    if palette:
        image.putpalette([int(g) for g in np.repeat((np.arange(256) - PALETTE_SHIFT) % 256, 3)])
    image.save(path, tiffinfo={270: DESCRIPTION})


def draw_all(folder):
    """Draw all faces into the folder and return how many there are.

    They are drawn beside it and moved there when complete; an earlier stand-in is replaced. Raises OSError if the
    folder cannot be written or holds anything else, and then leaves it as it was.
    """
    folder = Path(folder).absolute()
    ours = {name for name, *_ in portraits()}
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OSError(f"{folder} is not a folder")
    if folder.is_dir():
        strange = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours or not entry.is_file())
        if strange:
            raise OSError(f"{folder} holds {strange[0]}, which is no stand-in face; nothing was drawn")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    fresh, old = beside / "fresh", beside / "old"
    try:
        fresh.mkdir()
        for name, subject, emotion, take, number in portraits():
            save(draw_face(subject, emotion, take), fresh / name, number % PALETTE_EVERY == 0)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(beside, ignore_errors=True)
    return len(ours)


def contact_sheet(side=92):
    """uint8 array, every person a column and every emotion a row, first takes, each `side` pixels wide."""
    people = sorted({subject for _, subject, *_ in portraits()})
    sheet = Image.new("L", (30 + side * len(people), 18 + side * len(EMOTIONS)), 255)
    draw = ImageDraw.Draw(sheet)
    for column, subject in enumerate(people):
        draw.text((30 + side * (column + 0.5), 9), subject, fill=0, anchor="mm")
        for row, emotion in enumerate(EMOTIONS):
            draw.text((15, 18 + side * (row + 0.5)), emotion, fill=0, anchor="mm")
            portrait = Image.fromarray(draw_face(subject, emotion, 1)).resize((side, side), Image.Resampling.LANCZOS)
            sheet.paste(portrait, (30 + side * column, 18 + side * row))
    return np.asarray(sheet)


def main():
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description="Draw the 213 stand-in faces.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "standin", help="folder to fill")
    parser.add_argument("--sheet", type=Path, help="draw one contact sheet into this file instead")
    arguments = parser.parse_args()
    try:
        if arguments.sheet:
            Image.fromarray(contact_sheet()).save(arguments.sheet, format="PNG", optimize=True)
            print(f"contact sheet in {arguments.sheet}")
            return 0
        count = draw_all(arguments.out)
    except OSError as error:
        print(f"standin: {error}", file=sys.stderr)
        return 2
    print(f"{count} drawn faces in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
