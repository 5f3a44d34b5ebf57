"""What the faces tell without a network: cheap baselines, how near test faces are to training
faces, how new synthetic faces are."""

import numpy as np


# ----------------------------------------------------------------------------- distances of faces
def pixels(images):
    """Faces (n, 48, 48), uint8 or float from 0 to 1, as float64 (n, 2304) from 0 to 1."""
    flat = images.reshape(len(images), -1)
    return flat / 255 if images.dtype == np.uint8 else flat.astype(np.float64)


def nearest(images, others):
    """The nearest of the other faces to each face.

    Parameters
    ----------
    images, others : (n, 48, 48) and (m, 48, 48), uint8 or float from 0 to 1; m > 0

    Returns
    -------
    rows : int (n,), numbers of the other faces
    distances : float (n,), mean squared differences of the pixels (white = 1)
    """
    rows, distances = np.zeros(len(images), int), np.zeros(len(images))
    for first in range(0, len(images), 256):  # a part at a time, for memory
        part = slice(first, first + 256)
        pairs = mean_squares(images[part], others)
        rows[part], distances[part] = pairs.argmin(1), pairs.min(1)
    return rows, distances


def mean_squares(images, others):
    """Mean squared differences of the pixels (white = 1) of all pairs of faces: float (n, m)."""
    a, b = pixels(images), pixels(others)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0) / a.shape[1]


# ------------------------------------------------------------------------------- cheap baselines
# Each takes training faces (n, 48, 48), uint8 or float from 0 to 1, their emotions str (n,) and
# test faces uint8 (m, 48, 48), and returns the test faces' emotions str (m,). The same faces give
# the same answer.
MAX_FITTED = 5000  # training faces of the baselines that are fitted: time grows with the square


def subsample(images, emotions):
    """At most `MAX_FITTED` training faces, drawn, and of each emotion one at least."""
    rows = np.random.default_rng(0).permutation(len(images))
    if len(rows) > MAX_FITTED:
        firsts = np.unique(emotions[rows], return_index=True)[1]
        rows = np.concatenate([rows[firsts], np.delete(rows, firsts)])[:MAX_FITTED]
    return images[rows], emotions[rows]


def nearest_neighbour(train_images, train_emotions, test_images):
    """The emotion of the training face whose pixels differ least."""
    return train_emotions[nearest(test_images, train_images)[0]]


def linear_svm(train_images, train_emotions, test_images):
    """A linear support vector machine on standardised pixels."""
    from sklearn.preprocessing import StandardScaler

    images, emotions = subsample(train_images, train_emotions)
    scaler = StandardScaler().fit(pixels(images))
    return fitted_svm(scaler.transform(pixels(images)), emotions,
                      scaler.transform(pixels(test_images)))


def fitted_svm(features, emotions, test_features):
    """What a linear support vector machine with C = 1 says: str (m,) of features (n, k) and
    (m, k). The products are computed beforehand, which takes a tenth of scikit-learn's time."""
    from sklearn.svm import SVC

    machine = SVC(kernel="precomputed").fit(features @ features.T, emotions)
    return machine.predict(test_features @ features.T)


def pca_lda(train_images, train_emotions, test_images):
    """Fisherfaces: principal components, as many as there are training faces less emotions (here
    at most 300, for time), then linear discriminant analysis (Belhumeur, Hespanha and Kriegman,
    IEEE PAMI 19, 1997), here with Ledoit and Wolf's shrunk covariance."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline

    images, emotions = subsample(train_images, train_emotions)
    components = min(len(images) - len(set(emotions.tolist())), 300)
    if components < 1:  # a face an emotion: nothing to estimate a covariance from
        return nearest_neighbour(train_images, train_emotions, test_images)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    machine = make_pipeline(PCA(components, random_state=0), lda)
    return machine.fit(pixels(images), emotions).predict(pixels(test_images))


def hog(images, cell=8, orientations=9):
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005).

    Gradients by [-1, 0, 1], of orientation 0 to 180 degrees. Each pixel votes by its gradient's
    length for the two nearest of nine orientations and the nearest cells of 8 x 8 pixels, linearly
    by distance. Cells are normalised in overlapping blocks of 2 x 2 by L2-Hys: to length 1, cut
    at 0.2, to length 1 again.

    Parameters
    ----------
    images : (n, height, width), uint8 or float from 0 to 1; sides are multiples of `cell`

    Returns
    -------
    float (n, blocks x 4 x orientations)
        A face of 48 x 48 has 6 x 6 cells, 5 x 5 blocks and 900 values from 0 to 1.
    """
    count, height, width = images.shape
    faces = pixels(images).astype(np.float32).reshape(images.shape)
    padded = np.pad(faces, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    right = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    length = np.hypot(down, right)
    angle = np.arctan2(down, right) % np.pi / np.pi * orientations  # 0 to 9; 9 is 0 again

    def share(side):
        """How much of a pixel's vote each cell gets: (cells, pixels)."""
        middles = (np.arange(side // cell) + 0.5) * cell - 0.5
        return np.maximum(0, 1 - abs(np.arange(side) - middles[:, None]) / cell)

    cells = np.empty((count, height // cell, width // cell, orientations))
    for orientation in range(orientations):
        apart = abs(angle - orientation - 0.5)
        apart = np.minimum(apart, orientations - apart)
        votes = length * np.maximum(0, 1 - apart)
        votes = (votes.reshape(-1, width) @ share(width).T).reshape(count, height, -1)
        cells[..., orientation] = share(height) @ votes
    corners = (cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:])
    blocks = np.concatenate(corners, axis=-1)

    def unit(vectors):
        return vectors / np.sqrt((vectors**2).sum(-1, keepdims=True) + 1e-4)

    return unit(np.minimum(unit(blocks), 0.2)).reshape(count, -1)


def hog_svm(train_images, train_emotions, test_images):
    """A linear support vector machine on histograms of oriented gradients."""
    images, emotions = subsample(train_images, train_emotions)
    features = [np.concatenate([hog(part[first:first + 64]) for first in range(0, len(part), 64)])
                for part in (images, test_images)]
    return fitted_svm(features[0], emotions, features[1])


BASELINES = {"1-NN": nearest_neighbour, "linear SVM": linear_svm, "PCA-LDA": pca_lda,
             "HOG + linear SVM": hog_svm}
WITH_SYNTHETIC = ("linear SVM", "HOG + linear SVM")  # those fitted on synthetic faces too


def predict_with_synthetic(predict, train, synthetic, test_images):
    """str (m,): what a function of BASELINES says of uint8 (m, 48, 48), fitted on real `Faces` and
    on the arrays of synthetic ones."""
    images = np.concatenate([train.images / 255, synthetic["images"][..., 0]], dtype=np.float32)
    emotions = np.concatenate([train.emotions, synthetic["emotions"]])
    return predict(images, emotions, test_images)


# ------------------------------------------------------------------------- how near and how new
def share_shown(train, test):
    """The share, 0 to 1, of test faces with a training face of the same subject and emotion.

    train, test : `Faces`. Test faces of unknown subjects do not count; None if all are.
    """
    known = set(zip(train.subjects.tolist(), train.emotions.tolist()))
    shown = [(subject, emotion) in known for subject, emotion
             in zip(test.subjects.tolist(), test.emotions.tolist()) if subject]
    return float(np.mean(shown)) if shown else None


def novelty(synthetic, train):
    """How new the synthetic faces are, by mean squared differences of pixels (white = 1).

    Parameters
    ----------
    synthetic, train : `Faces`
        m and n. Images of synthetic ones are float (m, 48, 48), 0 to 1; their subject is "" where a
        face has none.

    Returns
    -------
    dict
        nearest : median over synthetic faces of the distance to the nearest training face of the
        same subject and emotion, of the same emotion where it has no subject.
        compared : of how many synthetic faces; others show what no training face of theirs shows.
        takes : median distance between two training faces of a subject and emotion.
        emotions : median distance between two training faces of a subject, of two emotions.
        None where there is no such pair.
    """
    to_real, takes, emotions = [], [], []
    for subject in sorted(set(train.subjects.tolist()) - {""}):
        rows = np.flatnonzero(train.subjects == subject)
        first, second = np.triu_indices(len(rows), 1)
        distances = mean_squares(train.images[rows], train.images[rows])[first, second]
        same = train.emotions[rows[first]] == train.emotions[rows[second]]
        takes.append(distances[same])
        emotions.append(distances[~same])
    for subject, emotion in sorted(set(zip(synthetic.subjects.tolist(),
                                           synthetic.emotions.tolist()))):
        real = train.emotions == emotion
        if subject:
            real &= train.subjects == subject
        if real.any():
            made = (synthetic.subjects == subject) & (synthetic.emotions == emotion)
            to_real.append(nearest(synthetic.images[made], train.images[real])[1])

    def median(parts):
        distances = np.concatenate([*parts, []])
        return float(np.median(distances)) if len(distances) else None

    return {"nearest": median(to_real), "compared": sum(map(len, to_real)),
            "takes": median(takes), "emotions": median(emotions)}
