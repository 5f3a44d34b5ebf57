"""Draw the stand-in for JAFFE: 213 grey portraits of ten women who do not exist.

    python data/standin.py [--out data/standin]

They have JAFFE's file names, counts, framing and file modes and nothing else of it: a result on
them says nothing about JAFFE. A face is drawn in two steps. `action_units` turns an emotion into
the muscle movements ("action units", AU) by which the facial action coding system describes it;
`draw_face` moves brows, lids, nose, mouth and jaw by them and paints the portrait at twice its
size. Lengths are in pixels of the finished picture; x counts from the middle of the face.
"""

import argparse
import functools
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

DESCRIPTION = "drawn stand-in face, not a photograph"

# Three takes of each person and emotion, but for these: the sums are then those of JAFFE.
OTHER_TAKES = {"KA.FE": 4, "KA.HA": 4, "KL.FE": 4, "KM.SA": 4, "YM.NE": 4, "KR.DI": 2, "NM.NE": 2}

SIZE = 256
SCALE = 2  # the portrait is painted this much larger and scaled down
MARGIN = 20  # painted around the picture, so that turning the head uncovers no edge
FULL = SIZE + 2 * MARGIN
MIDDLE = 130.5  # the face's midline: the middle of the crop (50, 65, side 161)
ORIGIN = np.array([MIDDLE + MARGIN, MARGIN])  # where (0, 0) lies on the canvas
JAW_DROP = 14  # how far the lower jaw sinks at AU26

# What stays the same in all portraits of a person: lengths in pixels, tones from 0 (black) to 255.
CODES = ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM")
TRAITS = {
    "number": range(10),  # seeds what is random about the person
    "face": (65, 68, 63, 67, 62, 69, 64, 66, 63, 67),  # half width at the cheekbones
    "jaw": (50, 55, 46, 53, 47, 57, 49, 52, 50, 51),  # half width at the mouth
    "chin": (221, 219, 224, 221, 222, 220, 223, 218, 224, 221),  # its height in the picture
    "eyes": (31, 31, 30, 32.5, 30, 32, 31, 31.5, 30, 32),  # distance of an eye from the midline
    "eye_size": (13, 13, 14, 12.5, 13, 12.5, 13.5, 13, 13, 14),  # half width of an eye
    "eye_open": (5.6, 5, 6.6, 5.6, 5.2, 4.8, 6.2, 5.6, 5.4, 6),  # the upper lid above the corners
    "slant": (1, 2, 1, 0, 1, 2.4, 1, -0.8, 1, 1.8),  # how much higher the eye's outer corner lies
    "crease": (4, 0, 4, 4, 3.2, 0, 4, 4, 4, 4),  # the fold above the upper lid; 0: none
    "iris": (60, 60, 60, 60, 60, 60, 85, 60, 60, 60),  # tone
    "brow": (107, 107, 105, 109, 106, 108, 104, 110, 106, 106),  # height in the picture
    "brow_thick": (4.5, 3.6, 4.5, 5.6, 3.4, 4.5, 4, 5, 4.2, 3.8),
    "brow_arch": (4, 4, 5.5, 2, 4, 3, 4, 3, 5, 4),
    "nose": (163, 163, 165, 161, 163, 160, 166, 160, 165, 163),  # the height of its base
    "nose_width": (13, 13, 12, 15, 11.5, 14.5, 13, 13.5, 12.5, 13),  # half of it
    "mouth": (187, 187, 187, 187, 187, 185, 189, 184, 190, 187),  # height in the picture
    "mouth_width": (24, 22, 24, 26, 21, 24, 25, 24, 23, 25),  # half of it
    "lips": (6.5, 5.5, 6.5, 7.5, 6, 6.5, 6.5, 7, 5, 7.8),  # thickness of the lower lip
    "skin": (205, 214, 192, 178, 218, 200, 210, 186, 222, 197),  # tone
    "hair": (58, 58, 47, 51, 79, 54, 96, 45, 65, 42),  # tone
    "style": ("long", "bob", "tied", "short", "long", "bob", "tied", "bob", "short", "long"),
    "parting": (4, -18, 12, -25, -14, 0, 0, 22, 8, 20),  # its place right of the midline
    "fringe": (46, 0, 0, 0, 0, 42, 0, 0, 38, 0),  # how far it hangs down
    "light": (-0.4, 0.5, 0.2, -0.7, 0.6, 0.1, -0.2, -0.6, 0.35, -0.1),  # from -1 left, 1 right
    "backdrop": (150, 120, 170, 130, 175, 110, 140, 185, 160, 125),  # tone
    "clothes": (90, 60, 200, 90, 90, 150, 70, 220, 110, 40),  # tone
}
PEOPLE = {code: SimpleNamespace(**dict(zip(TRAITS, values)))
          for code, values in zip(CODES, zip(*TRAITS.values()))}

# Where the outer and the inner contour of the hair end: x from the cheekbone, y in the picture.
HAIR = {
    "long": ([(17, 175), (20, 215), (14, 262)], [(-4, 165), (-6, 205), (-16, 262)]),
    "bob": ([(17, 165), (13, 190), (-2, 206), (-16, 203)], [(-5, 160), (-8, 182), (-14, 196)]),
    "tied": ([(3, 140), (-1, 150)], [(-3, 132), (-2, 148)]),
    "short": ([(10, 152), (1, 168)], [(-5, 140), (-4, 165)]),
}

# Full-strength action units of each emotion. 1 inner brow up, 2 outer brow up, 4 brows down and
# together, 5 upper lid up, 6 cheeks up, 7 lids tight, 9 nose wrinkled, 10 upper lip up, 12 lip
# corners up, 15 lip corners down, 17 chin up, 20 lips stretched, 23 lips tight, 24 lips pressed,
# 25 lips apart, 26 jaw down, 43 lids drooping.
UNITS = {
    "AN": {4: 1.1, 5: 0.5, 7: 0.6, 17: 0.3, 23: 0.7, 24: 0.8},
    "DI": {4: 0.4, 6: 0.3, 7: 0.5, 9: 1.0, 10: 0.9, 15: 0.4, 17: 0.3, 25: 0.6},
    "FE": {1: 0.9, 2: 0.4, 4: 0.55, 5: 0.8, 15: 0.1, 20: 0.9, 25: 0.5, 26: 0.35},
    "HA": {6: 0.8, 12: 1.0, 25: 1.0, 26: 0.1},
    "NE": {},
    "SA": {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.6, 43: 0.8},
    "SU": {1: 0.85, 2: 0.9, 5: 0.8, 25: 0.4, 26: 1.0},
}
EMOTIONS = list(UNITS)
ALL_UNITS = sorted(set().union(*UNITS.values()))
NEIGHBOURS = {"AN": ("DI", "SA"), "DI": ("AN", "SA"), "FE": ("SU", "SA"), "HA": ("NE", "SU"),
              "NE": ("SA", "AN"), "SA": ("NE", "FE"), "SU": ("FE", "NE")}


def action_units(person, emotion, take):
    """{action unit: its strength in one portrait, 0 to 1.3}, by the person's habits and chance."""
    # With these spreads some portraits stay ambiguous: LeNet-5 gets six or seven test faces in ten.
    key = [person.number, EMOTIONS.index(emotion)]
    habits = np.random.default_rng([*key, 7]).normal(1, 0.2, len(ALL_UNITS)).clip(0.2, 1.6)
    chance = np.random.default_rng([*key, take, 8])
    strength = chance.uniform(0.7, 1.25)
    neighbour = chance.choice(NEIGHBOURS[emotion])  # which it is mixed with, as in real portraits
    share = chance.uniform(0, 0.25)
    jitter = chance.normal(1, 0.15, len(ALL_UNITS))
    pure, mixed = (np.array([UNITS[which].get(unit, 0) for unit in ALL_UNITS])
                   for which in (emotion, neighbour))
    strengths = strength * ((1 - share) * pure + share * mixed) * habits * jitter
    return dict(zip(ALL_UNITS, strengths.clip(0, 1.3).tolist()))


def curve(points, steps=8):
    """A smooth line through the points (Catmull-Rom spline)."""
    points = np.asarray(points, float)
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.arange(steps)[:, None] / steps
    a, b, c, d = (padded[k:len(padded) - 3 + k, None] for k in range(4))
    pieces = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
                    + (3 * b - a - 3 * c + d) * t**3)
    return np.vstack([pieces.reshape(-1, 2), points[-1:]])


def mirrored(points, side=-1):
    """The points for the left (-1) or right (1) half of the face."""
    return np.asarray(points, float) * [side, 1]


def between(line, other=None):
    """The outline of the area between a line and another one or, by default, its mirror image."""
    return np.vstack([line, (mirrored(line) if other is None else other)[::-1]])


class Canvas:
    """A grey picture to paint on. Shapes, one or a list, are polygons or, with a width, lines."""

    def __init__(self, tone):
        self.grey = np.full((FULL * SCALE, FULL * SCALE), tone, np.float32)

    def _mask(self, shapes, blur, width, clip):
        """How much the shapes cover, 0 to 1, and the part of the canvas this lies on."""
        shapes = [shape + ORIGIN for shape in (shapes if isinstance(shapes, list) else [shapes])]
        points = np.vstack(shapes)
        pad = 3 * blur + width + 2
        low = np.floor(points.min(0) - pad).clip(0, FULL - 1).astype(int)
        high = np.ceil(points.max(0) + pad).clip(low + 1, FULL).astype(int)
        coarse = blur >= 0.6 or (high - low).prod() > 4000
        zoom = 1 if blur >= 2.5 else SCALE if coarse else 2 * SCALE  # soft edges need no fine grid
        size = tuple(((high - low) * zoom).tolist())

        def drawn(outlines, width):
            image = Image.new("L", size)
            pen = ImageDraw.Draw(image)
            for outline in outlines:
                flat = ((outline - low) * zoom).ravel().tolist()
                if width:
                    pen.line(flat, fill=255, width=max(1, round(width * zoom)), joint="curve")
                else:
                    pen.polygon(flat, fill=255)
            return image

        image = drawn(shapes, width)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur * zoom))
        if clip is not None:
            image = Image.composite(image, Image.new("L", size), drawn([clip + ORIGIN], 0))
        (left, top), (right, bottom) = low * SCALE, high * SCALE
        image = image.reduce(max(1, zoom // SCALE))
        image = image.resize((right - left, bottom - top), Image.BILINEAR)
        return np.asarray(image, np.float32) / 255, np.s_[top:bottom, left:right]

    def paint(self, shapes, tone, alpha=1.0, blur=0.0, width=0.0, clip=None):
        """Cover the shapes with a tone: a number, or a picture as large as the canvas."""
        mask, where = self._mask(shapes, blur, width, clip)
        new = tone[where] if isinstance(tone, np.ndarray) else tone
        self.grey[where] += alpha * mask * (new - self.grey[where])

    def shade(self, shapes, amount, blur=0.0, width=0.0, clip=None):
        """Darken (amount below 0) or lighten by a share of what is there."""
        if abs(amount) > 0.004:
            mask, where = self._mask(shapes, blur, width, clip)
            self.grey[where] *= 1 + amount * mask

    def photograph(self, chance):
        """The greys, uint8 (256, 256); pose, exposure and film differ from take to take."""
        turn, zoom = np.radians(chance.normal(0, 1.5)), 1 + chance.normal(0, 0.015)
        pivot = np.array([MIDDLE, 140])
        moved = pivot + chance.normal(0, 1.8, 2)
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / zoom
        affine = np.column_stack([matrix, (pivot + MARGIN) * SCALE - matrix @ (moved * SCALE)])
        image = Image.fromarray(self.grey.clip(0, 255).astype(np.uint8))
        image = image.transform((SIZE * SCALE,) * 2, Image.AFFINE, affine.ravel(), Image.BILINEAR)
        grey = np.asarray(image.reduce(SCALE), np.float32)
        x = np.linspace(-1, 1, SIZE)
        slope = 1 + chance.normal(0, 0.03) * x[None] + chance.normal(0, 0.03) * x[:, None]
        grey = grey * slope * (1 + chance.normal(0, 0.025)) + chance.normal(0, 2)
        grey = 105 + 1.55 * (grey - 105)  # on flatter pictures LeNet-5 often never starts to learn
        grain = 2.2 * chance.standard_normal(grey.shape, np.float32)
        return np.rint(grey + grain).clip(0, 255).astype(np.uint8)


def relief(person, au, at):
    """Brightness of the skin under the person's light: the face as a height map, from the front."""
    grid = np.arange(1, FULL, 2) - MARGIN  # skin is smooth: every second pixel will do
    x, y = grid - MIDDLE, grid + 0.0
    inside = 1 - (x[None] / (person.face + 14)) ** 2 - ((y[:, None] - 132) / 108) ** 2
    height = 62 * np.sqrt(np.maximum(inside, 0.05))

    def bump(cx, cy, wide, tall, amount, side=1):
        cx, cy = at([[cx, cy]], side)[0]
        height[:] += amount * np.outer(np.exp(-(((y - cy) / tall) ** 2) / 2),
                                       np.exp(-(((x - cx) / wide) ** 2) / 2))

    tip = person.nose - 8 - 2 * au[9]
    for part in np.linspace(0, 1, 5):  # the bridge of the nose widens downwards
        bump(0, 120 + part * (tip - 120), 5.5 + 3 * part, 9, 0.6 + 2.6 * part**1.3)
    bump(0, tip, 8, 6.5, 4.5)
    smile = au[12] + 0.5 * au[6]
    drop = JAW_DROP * au[26]
    for side in (-1, 1):
        bump(person.nose_width * 0.75, person.nose - 4 - 3 * au[9], 4.5, 4.5, 3, side)
        bump(person.eyes, 122, 14, 9, -5, side)  # socket
        bump(person.eyes, 124, 9, 6, 2.5, side)  # eyeball
        bump(30, person.brow + 2, 18, 6, 1.5 + 1.5 * au[4], side)
        bump(38, 158 - 6 * smile, 14, 13, 2.5 + 4 * smile, side)  # cheek, lifted by AU6 and AU12
        bump(56, 96, 12, 22, -2, side)  # temple
        bump(36, 192 + drop, 9, 16, -2 + au[20], side)  # hollow beside the mouth
    bump(0, person.mouth, 24, 12, 4)
    bump(0, person.mouth + 16 + drop, 14, 4, -2.5)
    bump(0, person.chin - 12 + drop, 14, 9, 5 + 2 * au[17])
    dy, dx = np.gradient(height, 2)
    light = np.array([person.light * 0.5, -0.45, 1.0])
    light /= np.linalg.norm(light)
    lit = np.maximum((-dx * light[0] - dy * light[1] + light[2]) / np.sqrt(dx**2 + dy**2 + 1), 0)
    tone = (person.skin * (0.22 + 0.65 * lit + 0.06 * lit**14)).astype(np.float32)
    return np.asarray(Image.fromarray(tone).resize((FULL * SCALE,) * 2, Image.BICUBIC))


def hair_sides(person):
    """For each side the inner and the outer contour of the hair, from the parting to the tips."""
    temple = [(6, 92), (6, 120)] if person.style == "tied" else [(13, 95), (14, 135)]
    outer_end, inner_end = HAIR[person.style]
    outer_end = np.add([(2, 58), *temple, *outer_end], [person.face, 0])
    inner_end = np.add([(-13, 86), (-5, 110), *inner_end], [person.face, 0])
    for side in (-1, 1):
        top = person.parting * side
        outer = curve([(top - 1, 24), ((top + person.face) / 2, 29), *outer_end])
        inner = curve([(top - 1, 58), ((top + person.face) / 2, 67), *inner_end])
        yield mirrored(inner, side), mirrored(outer, side)


def resampled(line, count):
    """The same line as so many points."""
    at = np.linspace(0, len(line) - 1, count)
    return np.stack([np.interp(at, np.arange(len(line)), column) for column in line.T], 1)


def draw_behind(canvas, person, head):
    """What the face covers or ends at: hair, neck, clothes and ears."""
    if person.style == "tied":
        angle = np.linspace(0, 2 * np.pi, 40)
        canvas.paint(np.stack([24 * np.cos(angle), 22 + 17 * np.sin(angle)], 1), person.hair * 0.9)
    if person.style in ("long", "bob"):
        for _, outer in hair_sides(person):
            canvas.paint(np.vstack([outer, [[0, outer[-1, 1] - 12], [0, 60]]]), person.hair * 0.65)
    neck = between(curve([(-37, 175), (-38, 215), (-44, 240), (-75, 262), (-75, 290)]))
    canvas.paint(neck, person.skin * 0.72)
    canvas.shade(head + [-4 * person.light, 9], -0.42, 5, clip=neck)  # the shadow of the chin
    collar = [(-50, 240), (-28, 262), (0, 270)]
    canvas.paint(between(curve([(-160, 290), (-135, 262), (-80, 243), *collar])), person.clothes)
    canvas.shade(curve([*collar, (28, 262), (50, 240)]), -0.35, 1, 2)
    fold = curve([(90, 250), (70, 268), (64, 292)])
    canvas.shade([mirrored(fold), fold], -0.25, 4, 3)
    if person.style in ("tied", "short"):  # else the hair covers the ears
        rim = curve([(-3, 128), (4, 121), (10, 126), (8, 145), (3, 160), (-4, 160)])
        hollow = curve([(2, 130), (6, 130), (4, 145)])
        for side in (-1, 1):
            canvas.paint(mirrored(rim + [person.face, 0], side), person.skin * 0.8, blur=0.7)
            canvas.shade(mirrored(hollow + [person.face, 0], side), -0.3, 1, 1.5)


@functools.cache
def front_hair(subject):
    """(shadow, tone, cover) of the hair around the face, the same in all portraits of a person."""
    person = PEOPLE[subject]
    chance = np.random.default_rng([person.number, 10])
    shadow, tone, cover = Canvas(1), Canvas(person.hair), Canvas(0)
    lights, darks = [], []
    for inner, outer in hair_sides(person):
        shadow.shade(inner, -0.28, 4, 5)
        cover.paint(between(inner, outer), 1, blur=0.6)
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
            half = 4.2 * (1 - np.linspace(0, 1, len(lock)) ** 3)[:, None] * [1, 0]  # tapers
            locks.append(between(lock - half, lock + half))
            for _ in range(3):
                strand = lock + [chance.uniform(-2.5, 2.5), chance.uniform(-12, -2)]
                (lights if chance.random() < 0.4 else darks).append(strand)
        shadow.shade([lock + [0, 4] for lock in locks], -0.2, 3)
        cover.paint(locks, 1, blur=0.4)
    tone.paint(lights, person.hair + 55, 0.4, width=0.6)
    tone.paint(darks, person.hair * 0.5, 0.45, width=0.6)
    return shadow.grey, tone.grey, cover.grey


def draw_eye(canvas, person, au, at, side):
    """One eye: AU5 lifts the upper lid, AU43 lets it droop, AU6 and AU7 raise the lower lid."""
    upper = max(1.2, person.eye_open + 3.6 * au[5] - 1.2 * au[7] - 1.0 * au[6] - 2.6 * au[43]
                - 0.8 * au[9] + 0.5 * au[1])
    lower = max(0.5, 3.8 + 0.6 * au[5] - 2.0 * au[7] - 2.4 * au[6] - 1.0 * au[9])
    s = np.linspace(-1, 1, 25)  # from the inner to the outer corner
    x = person.eyes + person.eye_size * s
    base = 125 - person.slant * s + (1.2 * au[43] - 0.8 * au[1]) * s
    top_y = base - upper * (1 - np.abs(s) ** 2.3) * (1 + (0.12 - 0.12 * au[43]) * s)
    low_y = base + lower * (1 - np.abs(s) ** 2.0) * (1 + 0.15 * s)

    def line(y, start=0):
        return at(np.stack([x, y], 1)[start:], side)

    def disc(radius, dx=0.0, dy=0.0):  # dx: to the right in the picture, on both eyes
        angle = np.linspace(0, 2 * np.pi, 32)
        circle = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
        return at([person.eyes + dx * side, 124.2 + dy] + circle, side)

    top, low = line(top_y), line(low_y)
    opening = between(top, low)
    canvas.shade(line(base - 7), -0.10, 4, 7)  # socket
    canvas.shade(line(base + 9 - 2 * au[6]), -0.08 - 0.10 * au[6] - 0.08 * au[7], 1.6, 2)  # bag
    canvas.paint(opening, min(238, person.skin * 0.6 + 105))
    canvas.paint(disc(6.1), person.iris * 0.75, blur=0.4, clip=opening)
    canvas.paint(disc(6.1 - 1.6, 0, 0.6), person.iris * 1.15, 0.8, 0.6, clip=opening)
    canvas.paint(disc(2.4), 14, clip=opening)  # pupil
    canvas.shade(top, -0.45, 1.2, 3.5, opening)  # the upper lid's shadow
    canvas.paint(disc(1.2, -2 if person.light < 0 else 2, -2), 245, 0.95, clip=opening)  # gleam
    thick = 1.3 * np.sin(np.linspace(0.3, np.pi * 0.85, 25)) + 0.6
    canvas.paint(between(top + [0, 0.4], top - thick[:, None] * [0, 1]), 22, 0.92, 0.25)  # lashes
    canvas.paint(line(low_y + 0.3, 4), person.skin * 0.35, 0.5, 0.4, 0.7)
    if person.crease:
        lift = max(1.2, person.crease - 1.6 * au[5] - 0.8 * au[4] - au[9])
        canvas.paint(line(top_y - lift * (1 - 0.4 * s**2), 2), person.skin * 0.4, 0.55, 0.6, 0.9)
    feet = [at([(x[-1] + 4, 125 + 0.4 * turn), (x[-1] + 11, 126 + 1.4 * turn)], side)
            for turn in (-4.5, 0.5, 5)]
    canvas.shade(feet, -0.30 * max(0, au[6] - 0.15), 0.7, 1.1)  # crow's feet


def draw_brow(canvas, person, au, at, side, chance):
    """One eyebrow: AU1 lifts its inner end, AU2 its outer end, AU4 pulls it down and inwards."""
    t = np.linspace(0, 1, 14)
    inner = 11 - 4.0 * au[4] - 1.5 * au[9]
    x = inner + (49 - inner) * t
    y = (person.brow + 1.5 - person.brow_arch * np.sin(np.pi * np.minimum(t * 0.85, 1)) + 3 * t**2
         - 8.5 * au[1] * (1 - t) ** 1.3 - 8 * au[2] * np.sin(np.pi * (0.25 + 0.55 * t))
         + 7.5 * au[4] * (1 - 0.75 * t) + 4 * au[9] * (1 - t))
    half = person.brow_thick / 2 * (0.75 + 0.6 * np.sin(np.pi * (0.2 + 0.5 * t)))
    half *= 1 - 0.75 * t**2.5  # thinner outwards
    shape = between(np.stack([x, y - half], 1), np.stack([x, y + half], 1))
    canvas.paint(at(shape, side), person.hair * 0.7, 0.75, 0.8)
    hairs = []
    for _ in range(36):
        k = chance.uniform(0, 0.95)
        hx, hy, spread = (np.interp(k, t, values) for values in (x, y, half))
        hy += chance.uniform(-0.6, 1.0) * spread
        hairs.append(at([(hx, hy + 0.5), (hx + 2.5 + 2 * k, hy - 1.6 + 2.6 * k)], side))
    canvas.paint(hairs, person.hair * 0.7 * 0.6, 0.55, 0.25, 0.5)


def draw_nose(canvas, person, au, at):
    """Nose: AU9 pulls the wings up and wrinkles the bridge."""
    base = person.nose - 2.5 * au[9] - 0.8 * au[10]
    wide = person.nose_width + 1.2 * au[9] + au[12]
    away = 1 if person.light < 0 else -1  # the side away from the light
    canvas.shade(at(curve([(6, 113), (5.5, 132), (8, base - 10)]), away), -0.07, 3, 4)
    canvas.shade(at([(0, 126), (0, base - 9)]), 0.06, 2, 3)
    below = curve([(-wide * 0.7, base + 3), (0, base + 4.5), (wide * 0.7, base + 3)])
    canvas.shade(at(below), -0.10, 2, 3)
    for side in (-1, 1):
        wing = [(wide - 2, base - 10), (wide, base - 4), (wide - 2, base + 0.5), (wide - 5, base)]
        canvas.shade(at(curve(wing), side), -0.30 - 0.15 * au[9], 0.8, 1.3)
        hole = [(2.8, base + 0.5), (5, base - 2), (wide - 4.5, base - 0.6), (5.5, base + 1.4)]
        canvas.paint(at(curve([*hole, hole[0]]), side), person.skin * 0.22, 0.75, 0.5)
        wrinkles = [at([(2.5 + k, 121 + 5 * k), (9 + 1.5 * k, 117 + 6.5 * k)], side)
                    for k in range(3)]  # beside the bridge
        canvas.shade(wrinkles, -0.33 * au[9], 0.8, 1.2)
        frown = curve([(4.5, 118), (5.2, 108), (4, 101)])  # between the brows
        canvas.shade(at(frown, side), -0.38 * max(0, au[4] - 0.1), 0.9, 1.5)
    canvas.shade(at(curve([(-3, base + 0.6), (0, base + 1.6), (3, base + 0.6)])), -0.25, 0.7, 1)


def draw_mouth(canvas, person, au, at, chance):
    """Lips, teeth and the dark of the mouth; every action unit from 10 to 26 works here."""
    drop = JAW_DROP * au[26]
    wide = person.mouth_width + 7 * au[12] + 6.5 * au[20] - 4 * au[23] - 5.5 * au[26] + au[15]
    corner = -6.5 * au[12] + 5.5 * au[15] + 1.0 * au[20] + 0.35 * drop
    raised = 4.5 * au[10] + 1.5 * au[9] + 1.2 * au[12]
    gap = 4.5 * au[25] + 3.0 * max(0, au[10] - 0.5) + 1.25 * drop + 2.0 * au[20] * au[25]
    thin = 1 - 0.55 * min(1, au[24]) - 0.15 * au[23] - 0.22 * au[12] - 0.2 * au[20]
    up = person.lips * 0.75 * max(0.3, thin)
    down = person.lips * max(0.35, thin) * (1 + 0.2 * au[17])
    middle = person.mouth - raised - 2.5 * au[17]
    s = np.linspace(-1, 1, 41)  # from the left to the right corner
    ends = person.mouth - 0.4 * raised + corner + chance.normal(0, 0.7) * s  # the mouth may lean
    power = 2.0 + 0.9 * au[26] + 0.8 * au[20]

    def edge(centre, bend):
        return centre + (ends - centre) * np.abs(s) ** bend

    def line(y, trim=0):  # trim: so many points are left out at both ends
        return at(np.stack([wide * s, y], 1)[trim:len(s) - trim])

    bow = 0.9 * np.exp(-((s / 0.15) ** 2)) - 0.6 * np.exp(-(((np.abs(s) - 0.28) / 0.2) ** 2))
    top = edge(middle - up, 1.7) + bow * min(1, thin + 0.2)
    inner_top = edge(middle + 0.25 * bow, power)
    inner_low = edge(middle + gap, power)
    low = edge(middle + gap + down, power + 0.2)
    lip = person.skin * 0.52
    canvas.shade(line(low + 3.5, 8), -0.16 - 0.08 * au[17], 2.2, 3)  # below the lower lip
    canvas.shade(at([(0, person.nose + 6), (0, middle - up - 1)]), -0.07, 1.5, 3)  # philtrum
    inside = between(line(inner_top), line(inner_low))
    if gap > 0.6:
        canvas.paint(inside, 18)
    if gap > 1.5:
        length = min(7.5, 0.9 * gap + 1) * (0.45 if au[26] > 0.5 else 1)
        teeth = between(line(inner_top - 1, 5), line(edge(middle + length, power), 5))
        canvas.paint(teeth, 235, 0.95, 0.3, clip=inside)
        gaps = [at([(x, middle - 3), (x, middle + length)]) for x in np.arange(-5, 6) * wide / 6.5]
        canvas.shade(gaps, -0.13, 0.4, 0.5, inside)
        canvas.shade(line(inner_top), -0.4, 1.3, 3, inside)
    if gap > 8:
        tongue = between(line(edge(middle + gap * 0.62, 3)), line(inner_low))
        canvas.paint(tongue, lip * 0.62, 0.8, 1, clip=inside)
    canvas.paint(between(line(top), line(inner_top)), lip * 0.88, 0.85, 0.5)
    canvas.paint(between(line(inner_low), line(low)), lip * 1.05, 0.85, 0.5)
    canvas.shade(line(0.45 * inner_low + 0.55 * low, 12), 0.16, 1.2, 2)
    canvas.shade(line(low, 9), -0.12, 0.8, 1)
    canvas.paint(line(inner_top), 34, 0.75, 0.4, 0.9 + 0.5 * au[24])
    if gap > 0.6:
        canvas.paint(line(inner_low), 34, 0.4, 0.5, 0.7)
    for side, tip in ((-1, ends[0]), (1, ends[-1])):
        dimple = [(wide - 0.5, tip), (wide + 2.5, tip - 1.2 * au[12] + 1.5 * au[15])]
        canvas.shade(at(dimple, side), -0.4, 1, 1.8)
        fold = curve([(person.nose_width + 2, person.nose - 8 - 3 * au[9]),
                      (person.nose_width + 10 + 3 * au[12], person.nose + 4 - 2 * au[10]),
                      (wide + 6 + 2 * au[12], tip - 3)])  # from the nose to the mouth
        depth = 0.06 + 0.26 * au[12] + 0.3 * au[10] + 0.2 * au[9] + 0.12 * au[15] + 0.1 * au[20]
        canvas.shade(at(fold, side), -min(0.42, depth), 1.3, 2)
        canvas.shade(at([(wide + 2, tip + 3), (wide + 3, tip + 12)], side), -0.22 * au[15], 1.4, 2)
    spots = chance.uniform([-9, -4], [9, 4], (5, 2)) + [0, person.chin - 14 + drop]  # of the chin
    canvas.shade([at([spot, spot + [3, 1]]) for spot in spots], -0.2 * au[17], 1.1, 1.6)


def draw_face(subject, emotion, take):
    """One portrait: its greys, uint8 (256, 256)."""
    person = PEOPLE[subject]
    au = action_units(person, emotion, take)
    chance = np.random.default_rng([person.number, EMOTIONS.index(emotion), take, 9])
    strands = np.random.default_rng([person.number, 10])
    turned = chance.normal(0, 0.5, 2) * [3, 2]

    def at(points, side=1):
        """Where points lie when the head is turned a little: the nearer, the further they move."""
        points = mirrored(points, side)
        return points + np.maximum(1 - (points[:, :1] / 75) ** 2, 0) * turned

    canvas = Canvas(person.backdrop)
    canvas.grey *= np.linspace(1.06, 0.9, len(canvas.grey), dtype=np.float32)[:, None]
    face, jaw, drop = person.face, person.jaw, 0.75 * JAW_DROP * au[26]
    chin = person.chin + drop
    head = between(curve([
        (0, 36), (34, 42), (face - 7, 70), (face, 108), (face, 138), (face - 4, 160),
        (jaw, 185 + 0.5 * drop), (jaw - 16, 205 + 0.8 * drop), (16, chin - 2), (0, chin)]))
    draw_behind(canvas, person, head)
    canvas.paint(head, relief(person, au, at))
    crease = curve([(-34, 71), (-16, 68), (0, 70), (16, 68), (34, 71)])  # of the forehead
    depth = 0.11 * max(0, au[1] - 0.2) * (1 + min(1, au[2] + au[4]))
    canvas.shade([at(crease + [0, down]) for down in (0, 9, 18)], -depth, 1.1, 1.4)
    draw_nose(canvas, person, au, at)
    draw_mouth(canvas, person, au, at, chance)
    for side in (-1, 1):
        draw_eye(canvas, person, au, at, side)
        draw_brow(canvas, person, au, at, side, strands)
    shadow, tone, cover = front_hair(subject)
    canvas.grey *= shadow
    canvas.grey += cover * (tone - canvas.grey)
    return canvas.photograph(chance)


def draw_all(folder):
    """Draw all faces into a new folder, which gets its name when complete; return their number."""
    folder = Path(folder).absolute()
    if folder.exists() or folder.is_symlink():
        raise FileExistsError(f"{folder} is already there: remove it first")
    faces = [(who, emotion, take) for who in PEOPLE for emotion in EMOTIONS
             for take in range(1, OTHER_TAKES.get(f"{who}.{emotion}", 3) + 1)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as beside:
        fresh = Path(beside, folder.name)
        fresh.mkdir()
        for number, (who, emotion, take) in enumerate(faces, 1):
            image = Image.fromarray(draw_face(who, emotion, take))
            if number % 9 == 0:  # a palette of greys, rolled: an index is never the grey it means
                image = Image.fromarray(np.asarray(image) + np.uint8(96))
                image.putpalette(np.repeat(np.arange(-96, 160) % 256, 3).tolist())
            image.save(fresh / f"{who}.{emotion}{take}.{number}.tiff", tiffinfo={270: DESCRIPTION})
        try:
            fresh.rename(folder)
        except OSError:  # of two that draw at once one takes what the other has drawn
            if not folder.is_dir():
                raise
    return len(faces)


def main():
    parser = argparse.ArgumentParser(description="Draw 213 faces into a new FOLDER (data/standin).")
    parser.add_argument("--out", metavar="FOLDER", default=Path(__file__).with_name("standin"))
    folder = parser.parse_args().out
    try:
        count = draw_all(folder)
    except OSError as error:
        parser.exit(2, f"standin: {error}\n")
    print(f"{count} drawn faces in {folder}")


if __name__ == "__main__":
    main()
