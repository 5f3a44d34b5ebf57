"""The whole experiment of the paper as one straight line, with nothing made fast.

This is the yardstick of the repository: the staged scripts are timed against it and compared with it
value by value. So it imports nothing from them and does each step in the plainest way: one call of the
decoder per synthetic face, arrays that grow by one row at a time, and Keras' and TensorFlow's own
defaults wherever the paper names no value.

    python tests/straight_line.py --data data/jaffe --out straight.npz --json straight.json

A run of everything that `make reproduce` does takes 15 minutes or more on two cores. It prints the
seconds of each stage, the peak memory and the accuracies.
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

FACE_BOX = (50, 65, 161)  # left, top, side in pixels: stands for the paper's face detector
SIDE = 48
THETA = 0.5  # the paper's: the weight of the first parent
BATCH = 4  # the paper's, for autoencoder and classifiers


def load_faces(folder):
    """Faces float32 (n, 48, 48, 1) in 0..1 with names, people and emotions, in the order of names."""
    # The published split depends on this order: it is a shuffle of positions, not of names.
    names = sorted(path.name for path in Path(folder).iterdir()
                   if path.suffix in (".tiff", ".png") and path.name[0] != ".")
    left, top, side = FACE_BOX
    faces = []
    for name in names:
        with Image.open(Path(folder) / name) as image:
            # Grey first: 23 of JAFFE's files hold palette indices, which must not be interpolated.
            face = image.convert("L").crop((left, top, left + side, top + side))
            faces.append(np.asarray(face.resize((SIDE, SIDE), Image.Resampling.BILINEAR), "float32"))
    parts = [name.split(".") for name in names]
    return (np.array(faces)[..., None] / 255, np.array(names), np.array([part[0] for part in parts]),
            np.array([part[1][:2] for part in parts]))


def build_cae(latent):
    encoder = keras.Sequential([
        keras.Input((SIDE, SIDE, 1)),
        layers.Conv2D(32, 3, strides=1, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=1, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(latent),
    ])
    decoder = keras.Sequential([
        keras.Input((latent,)),
        layers.Dense(12 * 12 * 64),
        layers.Reshape((12, 12, 64)),
        layers.Conv2DTranspose(64, 3, strides=1, padding="same", activation="relu"),
        layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(1, 3, strides=1, padding="same", activation="relu"),
    ])
    return encoder, decoder, keras.Sequential([encoder, decoder])


def interpolated(encoder, decoder, faces, emotions):
    """The decoded middle of every same-emotion pair: (latents, faces, emotions, rows of the parents)."""
    latents = encoder.predict(faces, verbose=0)
    made = np.empty((0, SIDE, SIDE, 1), "float32")
    labels, parents = np.empty((0,), emotions.dtype), np.empty((0, 2), int)
    for emotion in np.unique(emotions):
        members = np.flatnonzero(emotions == emotion)
        for i in range(len(members)):
            for j in range(i + 1, len(members)):
                a, b = members[i], members[j]
                z = THETA * latents[a] + (1 - THETA) * latents[b]
                made = np.concatenate([made, decoder.predict(z[np.newaxis], verbose=0)])
                labels = np.concatenate([labels, [emotion]])
                parents = np.concatenate([parents, [[a, b]]])
    return latents, made, labels, parents


def translated(cae, latent, faces, people, emotions, epochs):
    """Every face in each other emotion, by a copy of the autoencoder fitted to that pair of emotions."""
    made, labels = np.empty((0, SIDE, SIDE, 1), "float32"), np.empty((0,), emotions.dtype)
    rows = []
    for source in np.unique(emotions):
        for target in np.unique(emotions):
            pairs = [(a, b) for a in np.flatnonzero(emotions == source)
                     for b in np.flatnonzero(emotions == target) if people[a] == people[b]]
            if source == target or not pairs:
                continue
            _, _, copy = build_cae(latent)
            copy.set_weights(cae.get_weights())
            copy.compile("adam", "mse")
            a, b = np.array(pairs).T
            copy.fit(faces[a], faces[b], batch_size=BATCH, epochs=epochs, verbose=0)
            for row in np.flatnonzero(emotions == source):
                made = np.concatenate([made, copy.predict(faces[row][np.newaxis], verbose=0)])
                labels = np.concatenate([labels, [target]])
                rows.append(row)
    return made, labels, rows


def person_means(faces, people, emotions, rows, targets):
    """For each translated face the mean of the person's faces of the emotion, or of all people's."""
    made = np.empty((0, SIDE, SIDE, 1), "float32")
    for row, target in zip(rows, targets):
        theirs = faces[(people == people[row]) & (emotions == target)]
        theirs = theirs if len(theirs) else faces[emotions == target]
        made = np.concatenate([made, theirs.mean(axis=0)[np.newaxis]])
    return made


def train_lenet(faces, labels, classes, epochs):
    """Hold out a quarter for validation and fit: (classifier, what decides its outcome)."""
    rows, held_out = train_test_split(np.arange(len(faces)), test_size=0.25, random_state=42,
                                      stratify=labels)
    targets = keras.utils.to_categorical(labels, classes)
    lenet = keras.Sequential([
        keras.Input((SIDE, SIDE, 1)),
        layers.Resizing(32, 32, interpolation="bilinear"),
        layers.Conv2D(6, 5, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(120, 5, activation="relu"),
        layers.Flatten(),
        layers.Dense(84, activation="relu"),
        layers.Dense(classes, activation="softmax"),
    ])
    lenet.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    record = {"train_rows": rows, "validation_rows": held_out}
    # Nothing is drawn after these weights, so whoever starts from them can repeat the training.
    record |= {f"initial_w{k}": weight for k, weight in enumerate(lenet.get_weights())}
    history = lenet.fit(
        faces[rows], targets[rows], validation_data=(faces[held_out], targets[held_out]),
        batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0,
        # The last weights are kept, not the best, as in the paper.
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=5)]).history
    return lenet, record | {"loss": history["loss"], "val_loss": history["val_loss"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/jaffe", metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument("--latent", type=int, default=32)
    parser.add_argument("--cae-epochs", type=int, default=80)
    parser.add_argument("--pair-epochs", type=int, default=8, help="0: without translate")
    parser.add_argument("--classifier-epochs", type=int, default=80)
    parser.add_argument("--repeats", type=int, default=3, help="classifiers for each arm")
    parser.add_argument("--out", metavar="FILE.npz", help="arrays that others compare with")
    parser.add_argument("--json", metavar="FILE", help="seconds of each stage")
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)
    seconds, clock = {}, time.perf_counter()

    def stage_done(stage):
        nonlocal clock
        seconds[stage] = time.perf_counter() - clock
        print(f"{stage}: {seconds[stage]:.1f} s", flush=True)
        clock = time.perf_counter()

    faces, names, people, emotions = load_faces(args.data)
    classes = np.unique(emotions)
    rows, test_rows = train_test_split(np.arange(len(faces)), test_size=0.2, random_state=42,
                                       stratify=emotions)
    train, shown, who = faces[rows], emotions[rows], people[rows]
    encoder, decoder, cae = build_cae(args.latent)
    cae.compile("adam", "mse")
    cae.fit(train, train, batch_size=BATCH, epochs=args.cae_epochs, validation_split=0.25, verbose=0)
    stage_done("cae")
    latents, made, made_emotions, parents = interpolated(encoder, decoder, train, shown)
    arms = {"none": (train[:0], shown[:0]), "interpolate": (made, made_emotions)}
    stage_done("interpolate")
    if args.pair_epochs:
        images, targets, of = translated(cae, args.latent, train, who, shown, args.pair_epochs)
        arms["translate"] = images, targets
        arms["person-mean"] = person_means(train, who, shown, of, targets), targets
        chosen = np.concatenate([np.resize(np.flatnonzero(shown == emotion), np.sum(targets == emotion))
                                 for emotion in classes])
        arms["duplicate-translate"] = train[chosen], shown[chosen]
        stage_done("translate")
    saved, test_labels = {}, np.searchsorted(classes, emotions[test_rows])
    for arm, (images, labels) in arms.items():
        # Originals first. The split inside train_lenet comes after this line, so validation holds
        # synthetic faces whose parents are trained on: that is the paper's protocol.
        both = np.concatenate([train, images])
        both_labels = np.searchsorted(classes, np.concatenate([shown, labels]))
        right = 0
        for _ in range(args.repeats):
            lenet, record = train_lenet(both, both_labels, len(classes), args.classifier_epochs)
            predictions = lenet.predict(faces[test_rows], verbose=0)
            right += np.sum(predictions.argmax(axis=1) == test_labels)
            saved |= {f"{arm}_{key}": value for key, value in record.items()}
        print(f"{arm}: {100 * right / len(test_rows) / args.repeats:.1f} % right")
        stage_done(f"classifiers {arm}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB, macOS in bytes
    peak /= 2**20 if sys.platform == "darwin" else 2**10
    if args.out:
        np.savez(args.out, train_faces=train, train_names=names[rows], train_emotions=shown,
                 latents=latents, synthetic_faces=made, synthetic_emotions=made_emotions,
                 parents=parents, **{f"w{k}": w for k, w in enumerate(cae.get_weights())}, **saved)
    if args.json:
        Path(args.json).write_text(json.dumps({"seconds": seconds, "megabytes": peak}))
    print(f"all: {sum(seconds.values()):.1f} s, peak memory {peak:.0f} MiB")


if __name__ == "__main__":
    main()
