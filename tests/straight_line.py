"""The whole experiment of the paper as one straight line, with nothing made fast.

This is the yardstick of the repository: the staged scripts are timed against it and compared with it value by value.
So it imports nothing from them and does each step in the plainest way: one decoder call per synthetic face, arrays
that grow by one row at a time, and Keras' and TensorFlow's own defaults wherever the paper names no value.

    python tests/straight_line.py --data data/jaffe --seed 0 --out straight.npz --json straight.json

On 213 faces this takes 5 to 10 minutes on two cores, depending on when the classifiers stop; the 1,981 decoder calls
are about a third of it. It prints the seconds of each stage (without the imports, which take about 4 more), the peak
memory, and at the end the accuracy without and with synthetic faces.
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
FACE_SIDE = 48
THETA = 0.5  # from the paper: the weight of the first parent
BATCH = 4  # from the paper, for the autoencoder and for both classifiers
SUFFIXES = {".tiff", ".tif", ".png"}  # what else lies in a folder (.DS_Store, README, Thumbs.db) is not a face


def load_faces(folder):
    """Return faces (n, 48, 48, 1) float32 in 0..1, file names (n,) and emotion codes (n,), in sorted name order."""
    # The published split depends on this order: it is a shuffle of positions, not of names.
    names = sorted(p.name for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    if not names:
        raise SystemExit(f"no images in {folder}: expected names such as KA.AN1.39.tiff")
    left, top, side = FACE_BOX
    faces = []
    for name in names:
        with Image.open(Path(folder) / name) as image:
            # Grey first: 23 of JAFFE's files hold palette indices, which must not be interpolated.
            face = image.convert("L").crop((left, top, left + side, top + side))
            face = face.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BILINEAR)
        faces.append(np.asarray(face, dtype="float32") / 255)
    emotions = [name.split(".")[1][:2] for name in names]
    return np.array(faces)[..., np.newaxis], np.array(names), np.array(emotions)


def build_cae():
    """Return the encoder (face -> 32 numbers), the decoder (32 numbers -> face) and the two as one model."""
    encoder = keras.Sequential([
        keras.Input((FACE_SIDE, FACE_SIDE, 1)),
        layers.Conv2D(32, 3, strides=1, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(64, 3, strides=1, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(32),
    ])
    decoder = keras.Sequential([
        keras.Input((32,)),
        layers.Dense(12 * 12 * 64),
        layers.Reshape((12, 12, 64)),
        layers.Conv2DTranspose(64, 3, strides=1, padding="same", activation="relu"),
        layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(1, 3, strides=1, padding="same", activation="relu"),
    ])
    cae = keras.Sequential([encoder, decoder])
    # The paper's counts.
    assert (encoder.count_params(), decoder.count_params(), cae.count_params()) == (387_616, 396_737, 784_353)
    return encoder, decoder, cae


def make_synthetic(encoder, decoder, faces, names, emotions):
    """Decode the middle of every same-emotion pair, one call per pair.

    Returns the latents (n, 32), the synthetic faces (m, 48, 48, 1), their emotions (m,) and parents' names (m, 2).
    """
    latents = encoder.predict(faces, verbose=0)
    synthetic = np.empty((0, FACE_SIDE, FACE_SIDE, 1), "float32")
    labels = np.empty((0,), emotions.dtype)
    parents = np.empty((0, 2), names.dtype)
    for emotion in np.unique(emotions):  # alphabetical
        members = np.flatnonzero(emotions == emotion)  # in training order
        for i in range(len(members)):
            for j in range(i + 1, len(members)):
                a, b = members[i], members[j]
                z = THETA * latents[a] + (1 - THETA) * latents[b]
                face = decoder.predict(z[np.newaxis], verbose=0)
                synthetic = np.concatenate([synthetic, face])
                labels = np.concatenate([labels, [emotion]])
                parents = np.concatenate([parents, [[names[a], names[b]]]])
    return latents, synthetic, labels, parents


def build_lenet(classes):
    """Return LeNet-5 for 48 x 48 faces, compiled."""
    lenet = keras.Sequential([
        keras.Input((FACE_SIDE, FACE_SIDE, 1)),
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
    assert lenet.count_params() == 60_856 + 85 * classes  # 61,451 for the seven emotions of the paper
    lenet.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return lenet


def train_lenet(faces, labels, classes, epochs):
    """Hold out a quarter of `faces` (n, 48, 48, 1) for validation and fit; `labels` (n,) are class numbers.

    Returns the classifier and a dict of what decides its outcome: the rows of `faces` that were trained on and
    validated on, in the order the classifier saw them, its initial weights, and the losses of each epoch.
    """
    rows, validation_rows = train_test_split(
        np.arange(len(faces)), test_size=0.25, random_state=42, stratify=labels)
    targets = keras.utils.to_categorical(labels, classes)
    lenet = build_lenet(classes)
    record = {"train_rows": rows, "validation_rows": validation_rows}
    # Nothing is drawn after these weights, so whoever starts from them can repeat the training.
    record |= {f"initial_w{k}": w for k, w in enumerate(lenet.get_weights())}
    history = lenet.fit(
        faces[rows], targets[rows], validation_data=(faces[validation_rows], targets[validation_rows]),
        batch_size=BATCH, epochs=epochs, shuffle=False, verbose=2,
        # The last weights are kept, not the best, as in the paper.
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=5)])
    record |= {"loss": history.history["loss"], "val_loss": history.history["val_loss"]}
    return lenet, record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/jaffe", metavar="FOLDER", help="faces (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights (default: %(default)s)")
    parser.add_argument("--cae-epochs", type=int, default=80, metavar="N", help="paper: %(default)s")
    parser.add_argument("--classifier-epochs", type=int, default=80, metavar="N", help="at most; paper: %(default)s")
    parser.add_argument("--cae-weights", metavar="FILE.npz", help="load w0, w1, ... instead of fitting")
    parser.add_argument("--out", metavar="FILE.npz", help="save the arrays that others compare with")
    parser.add_argument("--json", metavar="FILE", help="save the seconds of each stage")
    args = parser.parse_args()
    for path in filter(None, (args.out, args.json)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)  # now, not after minutes of work
    keras.utils.set_random_seed(args.seed)
    seconds = {}
    clock = time.perf_counter()

    def stage_done(stage):
        nonlocal clock
        seconds[stage] = time.perf_counter() - clock
        print(f"{stage}: {seconds[stage]:.2f} s", flush=True)
        clock = time.perf_counter()

    faces, names, emotions = load_faces(args.data)
    classes = np.unique(emotions)
    rows, test_rows = train_test_split(np.arange(len(faces)), test_size=0.2, random_state=42, stratify=emotions)
    train, train_names, train_emotions = faces[rows], names[rows], emotions[rows]
    test, test_names, test_emotions = faces[test_rows], names[test_rows], emotions[test_rows]
    print(f"{len(train)} training and {len(test)} test faces (JAFFE: 170 and 43)")
    stage_done("load")

    encoder, decoder, cae = build_cae()
    cae_history = {"loss": [], "val_loss": []}
    if args.cae_weights:
        with np.load(args.cae_weights) as file:  # may be the --out of another run: its other keys are left aside
            cae.set_weights([file[f"w{k}"] for k in range(len(cae.get_weights()))])
    else:
        cae.compile("adam", "mse")
        cae_history = cae.fit(
            train, train, batch_size=BATCH, epochs=args.cae_epochs, validation_split=0.25, verbose=2).history
    stage_done("cae")

    latents, synthetic, synthetic_emotions, parents = make_synthetic(
        encoder, decoder, train, train_names, train_emotions)
    counts = np.unique(train_emotions, return_counts=True)[1]
    assert len(synthetic) == np.sum(counts * (counts - 1) // 2)
    print(f"{len(synthetic)} synthetic faces (JAFFE: 1,981)")
    stage_done("synthetic")

    labels = np.searchsorted(classes, train_emotions)
    baseline, baseline_record = train_lenet(train, labels, len(classes), args.classifier_epochs)
    stage_done("baseline")

    # Originals first. The split inside train_lenet comes after this line, so validation holds synthetic faces whose
    # parents are trained on: that is the paper's protocol.
    augmented_faces = np.concatenate([train, synthetic])
    augmented_labels = np.concatenate([labels, np.searchsorted(classes, synthetic_emotions)])
    augmented, augmented_record = train_lenet(
        augmented_faces, augmented_labels, len(classes), args.classifier_epochs)
    stage_done("augmented")

    test_labels = np.searchsorted(classes, test_emotions)
    baseline_predictions = baseline.predict(test, verbose=0)
    augmented_predictions = augmented.predict(test, verbose=0)
    right = {"baseline": int(np.sum(baseline_predictions.argmax(axis=1) == test_labels)),
             "augmented": int(np.sum(augmented_predictions.argmax(axis=1) == test_labels))}
    stage_done("evaluate")

    # Linux counts in KiB, macOS in bytes.
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    if args.out:
        np.savez(
            args.out, classes=classes,
            train_faces=train, train_names=train_names, train_emotions=train_emotions,
            test_faces=test, test_names=test_names, test_emotions=test_emotions,
            cae_loss=cae_history["loss"], cae_val_loss=cae_history["val_loss"],
            # The encoder's weights and then the decoder's, under the names that --cae-weights reads.
            **{f"w{k}": w for k, w in enumerate(cae.get_weights())},
            latents=latents, synthetic_faces=synthetic, synthetic_emotions=synthetic_emotions, parents=parents,
            **{f"baseline_{key}": value for key, value in baseline_record.items()},
            **{f"augmented_{key}": value for key, value in augmented_record.items()},
            baseline_predictions=baseline_predictions, augmented_predictions=augmented_predictions)
    if args.json:
        Path(args.json).write_text(json.dumps({
            "seconds": seconds, "total_seconds": sum(seconds.values()), "peak_memory_mib": peak_mib,
            "train": len(train), "test": len(test), "synthetic": len(synthetic), "right": right,
            "epochs": {"none": len(baseline_record["loss"]), "interpolate": len(augmented_record["loss"])}}, indent=2) + "\n")

    print(f"all stages: {sum(seconds.values()):.1f} s, peak memory {peak_mib:.0f} MiB")
    for name, number in right.items():
        print(f"accuracy {name}: {number} of {len(test)} = {100 * number / len(test):.2f} %")


if __name__ == "__main__":
    main()
