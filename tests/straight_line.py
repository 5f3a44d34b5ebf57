"""The paper's experiment as a notebook would have it, top to bottom: the repository's yardstick.

    python tests/straight_line.py --data data/jaffe --out straight.npz --json straight.json

The scripts are timed against it and compared with it value by value. So it imports nothing of them
and goes the plainest way: a call of the network for every synthetic face, and the defaults of Keras
and TensorFlow wherever the paper names no value. What `make reproduce` does takes it 15 minutes or
more on two cores. Its arms are those of `make reproduce`; --pair-epochs 0 leaves translate and its
controls out.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="data/jaffe", metavar="FOLDER")
parser.add_argument("--out", metavar="FILE.npz", help="arrays that others compare with")
parser.add_argument("--json", metavar="FILE", help="seconds of each stage, megabytes")
for option, default in (("--seed", 0), ("--latent", 32), ("--cae-epochs", 80), ("--pair-epochs", 8),
                        ("--classifier-epochs", 80), ("--repeats", 3)):
    parser.add_argument(option, type=int, default=default)
args = parser.parse_args()
keras.utils.set_random_seed(args.seed)
seconds, clock = {}, time.perf_counter()
same = {"padding": "same", "activation": "relu"}


def stage_done(stage):
    global clock
    seconds[stage] = time.perf_counter() - clock
    print(f"{stage}: {seconds[stage]:.1f} s", flush=True)
    clock = time.perf_counter()


def build_cae():
    encoder = keras.Sequential([
        keras.Input((48, 48, 1)),
        layers.Conv2D(32, 3, 1, **same), layers.Conv2D(64, 3, 2, **same),
        layers.Conv2D(64, 3, 2, **same), layers.Conv2D(64, 3, 1, **same),
        layers.Flatten(), layers.Dense(args.latent)])
    decoder = keras.Sequential([
        keras.Input((args.latent,)), layers.Dense(12 * 12 * 64), layers.Reshape((12, 12, 64)),
        layers.Conv2DTranspose(64, 3, 1, **same), layers.Conv2DTranspose(64, 3, 2, **same),
        layers.Conv2DTranspose(32, 3, 2, **same), layers.Conv2DTranspose(1, 3, 1, **same)])
    cae = keras.Sequential([encoder, decoder])
    cae.compile("adam", "mse")
    return encoder, decoder, cae


# The published split depends on the order of names: it is a shuffle of positions.
names = sorted(path.name for path in Path(args.data).iterdir()
               if path.suffix in (".tiff", ".png") and path.name[0] != ".")
faces = []
for name in names:
    # Grey first: 23 of JAFFE's files hold palette indices, which must not be interpolated. The box
    # (50, 65) to (211, 226) stands for the paper's face detector.
    face = Image.open(Path(args.data) / name).convert("L").crop((50, 65, 211, 226))
    faces.append(np.asarray(face.resize((48, 48), Image.Resampling.BILINEAR), "float32"))
faces = np.array(faces)[..., None] / 255
emotions = np.array([name.split(".")[1][:2] for name in names])
subjects = np.array([name.split(".")[0] for name in names])
classes = np.unique(emotions)
rows, test_rows = train_test_split(np.arange(len(faces)), test_size=0.2, random_state=42,
                                   stratify=emotions)
train, shown, posed_by = faces[rows], emotions[rows], subjects[rows]

# The autoencoder over all training faces.
encoder, decoder, cae = build_cae()
cae.fit(train, train, validation_split=0.25, batch_size=4, epochs=args.cae_epochs, verbose=0)
stage_done("cae")

# interpolate: the decoded middle of every pair of one emotion. Its controls: the mean of their
# pixels; real faces alone for as many optimiser steps.
latents = encoder.predict(train, verbose=0)
made, blends, labels, parents = [], [], [], []
for emotion in classes:
    members = np.flatnonzero(shown == emotion)
    for i, a in enumerate(members):
        for b in members[i + 1:]:
            z = 0.5 * latents[a] + 0.5 * latents[b]  # the paper's theta
            made.append(decoder.predict(z[np.newaxis], verbose=0)[0])
            blends.append((train[a] + train[b]) / 2)
            labels.append(emotion)
            parents.append((a, b))
arms = {"none": (train[:0], shown[:0]), "interpolate": (np.array(made), np.array(labels)),
        "blend": (np.array(blends), np.array(labels)), "longer-interpolate": (train[:0], shown[:0])}
stage_done("interpolate")
saved = {"train_faces": train, "train_names": np.array(names)[rows], "train_emotions": shown,
         "synthetic_faces": made, "synthetic_emotions": labels, "parents": parents,
         **{f"w{k:02d}": weight for k, weight in enumerate(cae.get_weights())}}

# translate: each face in each other emotion, by a copy of the autoencoder fitted to the two. Its
# controls: the mean of the subject's, or else everybody's, faces of the emotion; real faces alone
# for as many optimiser steps.
if args.pair_epochs:
    made, means, labels = [], [], []
    for source in classes:
        for target in classes:
            pairs = [(a, b) for a in np.flatnonzero(shown == source)
                     for b in np.flatnonzero(shown == target) if posed_by[a] == posed_by[b]]
            if source == target or not pairs:
                continue
            _, _, copy = build_cae()
            copy.set_weights(cae.get_weights())
            a, b = np.array(pairs).T
            copy.fit(train[a], train[b], batch_size=4, epochs=args.pair_epochs, verbose=0)
            for row in np.flatnonzero(shown == source):
                made.append(copy.predict(train[row][np.newaxis], verbose=0)[0])
                theirs = train[(posed_by == posed_by[row]) & (shown == target)]
                means.append((theirs if len(theirs) else train[shown == target]).mean(axis=0))
                labels.append(target)
    arms |= {"translate": (np.array(made), np.array(labels)),
             "person-mean": (np.array(means), np.array(labels)),
             "longer-translate": (train[:0], shown[:0])}
    saved |= {"translate_faces": made, "person-mean_faces": means, "translate_emotions": labels}
    stage_done("translate")

# The classifiers: originals first, then a quarter is held out, so validation holds synthetic faces
# whose parents are trained on: that is the paper's protocol.
steps = {}
for arm, (synthetic, labels) in arms.items():
    images = np.concatenate([train, synthetic])
    numbers = np.searchsorted(classes, np.concatenate([shown, labels]))
    targets, accuracies, steps[arm] = keras.utils.to_categorical(numbers, len(classes)), [], []
    fitted, held_out = train_test_split(np.arange(len(images)), test_size=0.25, random_state=42,
                                        stratify=numbers)
    for repeat in range(args.repeats):
        lenet = keras.Sequential([
            keras.Input((48, 48, 1)), layers.Resizing(32, 32, interpolation="bilinear"),
            layers.Conv2D(6, 5, activation="relu"), layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="relu"), layers.AveragePooling2D(2),
            layers.Conv2D(120, 5, activation="relu"), layers.Flatten(),
            layers.Dense(84, activation="relu"), layers.Dense(len(classes), activation="softmax")])
        lenet.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
        how = {"validation_data": (images[held_out], targets[held_out]), "batch_size": 4,
               "shuffle": False, "verbose": 0}
        if arm.startswith("longer-"):  # the last epoch is cut short
            taken = steps[arm.removeprefix("longer-")][repeat]
            epochs, rest = divmod(taken, int(np.ceil(len(fitted) / 4)))
            if epochs:
                lenet.fit(images[fitted], targets[fitted], epochs=epochs, **how)
            if rest:
                lenet.fit(images[fitted[:4 * rest]], targets[fitted[:4 * rest]], **how)
        else:  # the last weights are kept, not the best, as in the paper
            lenet.fit(images[fitted], targets[fitted], epochs=args.classifier_epochs, callbacks=[
                keras.callbacks.EarlyStopping(monitor="val_loss", patience=5)], **how)
        steps[arm].append(int(lenet.optimizer.iterations))
        guessed = classes[lenet.predict(faces[test_rows], verbose=0).argmax(axis=1)]
        accuracies.append(np.mean(guessed == emotions[test_rows]))
    print(f"{arm}: {100 * np.mean(accuracies):.1f} %")
    stage_done(f"classifiers {arm}")

peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak /= 2**20 if sys.platform == "darwin" else 2**10  # macOS counts in bytes, Linux in KiB
print(f"all: {sum(seconds.values()):.1f} s, peak memory {peak:.0f} MiB")
if args.out:
    np.savez(args.out, **saved, **{f"{arm}_steps": counts for arm, counts in steps.items()})
if args.json:
    Path(args.json).write_text(json.dumps({"seconds": seconds, "megabytes": peak}))
