"""What a name says: words for emotions and for the sides of a split, image suffixes, numbers.

Words are found at the borders of words: `Train_Aligned_Faces`, `val_afew`, `FER2013Test`.
"""

import collections
import functools
import posixpath
import re
import unicodedata
from shlex import quote

import numpy as np

from utils import Problem, listed

IMAGE_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jfif", ".mpo", ".bmp", ".webp",
                  ".pgm", ".ppm", ".gif"}
SIDES = {"train": "train", "training": "train", "trainset": "train", "trainval": "train",
         "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val",
         "evaluation": "val", "publictest": "val",
         "test": "test", "testing": "test", "testset": "test", "privatetest": "test"}
# A word ends before another sign, or before a year: S01 and test1 are numbered, train2014 is not.
WORD = re.compile(r"[^\W\d_]+(?![^\W\d_]|\d{1,3}(?!\d))")
# What the number in a name counts, by the first row that the whole name is of.
NUMBERED = {
    "takes": re.compile(r"(take|trial|rep|part|level|intensity|session|seq|sequence|video|clip|"
                        r"frame|fold|set|batch|cam|camera|view)[ _.-]?\d+", re.IGNORECASE),
    "classes": re.compile(r"(class|cls|label|emotion|emo|category|cat|expression|expr)[ _.-]?\d+",
                          re.IGNORECASE),
    "people": re.compile(r"[^\W\d_]{0,20}[ _.-]?\d{1,8}")}  # S005, AF01, 001, subject 3

EMOTION_NAMES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral",
                 "SA": "sadness", "SU": "surprise"}  # JAFFE's codes
# Those of JAFFE, KDEF (AF: afraid) and CREMA-D.
CODES = {code.lower(): name for code, name in EMOTION_NAMES.items()} | {
    "ang": "anger", "dis": "disgust", "af": "fear", "fea": "fear", "hap": "happiness",
    "neu": "neutral", "sur": "surprise", "con": "contempt"}
# English (nouns, adjectives, the adverbs of RAF-DB's compound emotions), German, French, Spanish,
# Portuguese, Italian, Dutch, Turkish, Polish, Russian, Chinese, Japanese, Korean.
WORDS = {
    "anger":
        "anger angry angrily mad rage furious wut wütend ärger ärgerlich verärgert zorn "
        "zornig colère fâché énervé ira enojo enojado enfado enfadado raiva zangado bravo rabbia "
        "arrabbiato boos woede öfke kızgın sinirli złość zły гнев злость злой 生气 愤怒 憤怒 生氣 "
        "怒り 怒 분노 화남",
    "disgust":
        "disgust disgusted disgustedly disgusting ekel angeekelt dégoût dégoûté asco "
        "asqueado disgustado repugnancia nojo desgosto disgusto disgustato schifato walging "
        "iğrenme tiksinti wstręt obrzydzenie отвращение 厌恶 厭惡 嫌悪 혐오 역겨움",
    "fear":
        "fear fearful fearfully afraid scared scare angst ängstlich furcht verängstigt "
        "peur apeuré effrayé miedo temor asustado medo amedrontado assustado paura spaventato "
        "bang korku korkmuş strach przestraszony страх испуг 害怕 恐惧 恐懼 恐怖 恐れ 두려움 공포",
    "happiness":
        "happy happily happiness joy joyful smile smiling laugh laughing fröhlich freude "
        "glücklich glück freudig joie joyeux heureux content bonheur felicidad feliz alegría "
        "alegre alegria felicidade felicità felice gioia contento blij vreugde mutlu mutluluk "
        "radość szczęście szczęśliwy радость счастье счастливый весёлый 高兴 高興 开心 開心 快乐 "
        "快樂 喜び 喜 幸福 幸せ 행복 기쁨",
    "neutral":
        "neutral neutrality neutre neutro neutra neutrale neutraal neutralny nötr doğal "
        "normal нейтральный нейтрально нейтральное 中性 中立 平静 平靜 無表情 自然 真顔 중립 "
        "무표정 보통",
    "sadness":
        "sad sadly sadness unhappy sorrow traurig trauer traurigkeit triste tristesse tristeza "
        "tristezza verdrietig verdriet droevig üzgün üzüntü smutek smutny грусть печаль грустный "
        "печальный 悲伤 悲傷 伤心 傷心 难过 難過 悲しみ 悲しい 悲 슬픔",
    "surprise":
        "surprise surprised surprising astonished überraschung überrascht étonnement "
        "étonné surpris sorpresa sorprendido sorprendida surpresa surpreso sorpreso verrassing "
        "verrast şaşkın şaşkınlık sürpriz zaskoczenie zaskoczony удивление удивлённый удивленный "
        "惊讶 驚訝 惊喜 吃惊 吃驚 驚き 驚 놀람",
    "contempt":
        "contempt contemptuous verachtung verächtlich mépris méprisant desprecio desprezo "
        "disprezzo minachting küçümseme pogarda презрение 轻蔑 輕蔑 蔑视 蔑視 軽蔑 경멸",
    "calm":
        "calm calme ruhig tranquilo calmo kalm sakin spokojny спокойствие спокойный 冷静 평온",
}


# --------------------------------------------------------------------------------------- emotions
def bare(text):
    """A word without case and accents, however they are encoded."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


MEANINGS = {bare(word): meaning for meaning, words in WORDS.items() for word in words.split()}


def parted(text):
    """"Public Test" of PublicTest."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)


def words_of(text):
    """The words of a name without numbers and signs: two of "01-HappilySurprised"."""
    composed = unicodedata.normalize("NFC", parted(text))
    return [bare(word) for word in re.findall(r"[^\W\d_]+", composed)]


@functools.cache
def meaning(label):
    """"anger" of "angry", "wütend" and "AN"; "" of what has a word that is not known."""
    if label.casefold() in CODES:
        return CODES[label.casefold()]
    meanings = [MEANINGS.get(word, "") for word in words_of(label)]
    return " ".join(meanings) if all(meanings) else ""


@functools.cache
def has_emotion_word(text):
    return any(word in MEANINGS for word in words_of(text))


def names_emotion(text):
    """Whether a name has a word for an emotion in it, or is the code of one."""
    return text.casefold() in CODES or has_emotion_word(text)


# ------------------------------------------------------------------------------------ other words
@functools.cache
def split_of(name):
    """The side of a split, "train", "val" or "test", that a name has a word for; "" if not one."""
    for text in (name, parted(name)):  # PublicTest before Test
        sides = {SIDES[word] for word in WORD.findall(text.lower()) if word in SIDES}
        if len(sides) == 1:
            return sides.pop()
    return ""


def folders_of(name):
    return tuple(name.split("/")[:-1])


def split_in(name):
    """The side that the last such folder of a path tells, or ""."""
    return next(filter(None, map(split_of, reversed(folders_of(name)))), "")


def counted_by(name):
    """What the number of a name such as S01 counts, a key of NUMBERED, or ""."""
    return next((kind for kind, pattern in NUMBERED.items() if pattern.fullmatch(name)), "")


def base(name):
    return name.rpartition("/")[2]


def stem(name):
    """A path without its suffix, if that is one of images: all of "subject01.happy"."""
    start, suffix = posixpath.splitext(name)
    return start if suffix.lower() in IMAGE_SUFFIXES else name


# ----------------------------------------------------------------------------------------- labels
def same_spelling(label):
    """The key under which labels count as one: whatever their case, encoding of accents, blanks."""
    return " ".join(unicodedata.normalize("NFC", label.casefold()).split())


def parsed_labels(text):
    """{label: its new name} of "angry=anger,contempt=", by their `same_spelling`; "": left out."""
    renamed = {}
    for pair in text.split(",") if text else ():
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not old or not equals or "=" in new:
            raise Problem(f"--labels {text}: '{pair}' is not of the form angry=anger,1=surprise, "
                          f"or contempt= to leave faces out")
        renamed[same_spelling(old)] = unicodedata.normalize("NFC", new)
    return renamed


def usual_spellings(emotions):
    """({`same_spelling`: the label as most faces have it}, notes)."""
    spellings = collections.defaultdict(collections.Counter)
    for emotion in emotions:
        spellings[same_spelling(emotion)][" ".join(emotion.split())] += 1
    names, notes = {}, []
    for key, counts in spellings.items():
        usual = max(sorted(counts, reverse=True), key=counts.__getitem__)
        code = usual.upper() in EMOTION_NAMES  # JAFFE's codes are written in capitals
        names[key] = usual.upper() if code else unicodedata.normalize("NFC", usual)
        if len(counts) > 1 and not code:
            notes.append(f"the labels {listed(sorted(map(repr, counts)), 4)} are one: {names[key]}")
    return names, notes


def unified(emotions, labels, complete=True):
    """Labels with one spelling for each.

    Parameters
    ----------
    emotions : list of n labels as the data set has them
    labels : "angry=anger,contempt=" renames, merges, and leaves out; or ""
    complete : whether each label to be renamed has to occur; else a note says which do not

    Returns
    -------
    str (n,), "" of a face that is left out, and what a user has to know: sentences
    """
    usual, notes = usual_spellings(emotions)
    renamed, names = parsed_labels(labels), dict(usual)
    for key, new in renamed.items():
        if key not in usual:
            absent = f"--labels {labels}: no face has the label {key}; there are " \
                f"{listed(sorted(names.values()), 12)}"
            if complete:
                raise Problem(absent)
            notes.append(absent)
        elif not new:
            count = sum(same_spelling(emotion) == key for emotion in emotions)
            notes.append(f"--labels leaves out {count} faces of {usual[key]}")
            names[key] = ""
        else:  # a new name that is there in another spelling is that label
            other = same_spelling(new)
            names[key] = new if other in renamed else usual.get(other, new)
    result = [names[same_spelling(emotion)] for emotion in emotions]
    return np.array(result, str), notes + label_notes(collections.Counter(filter(None, result)))


def label_notes(counts):
    """What is odd about labels, {label: number of faces}: sentences."""
    notes, by_meaning = [], collections.defaultdict(list)
    for name in sorted(counts):
        by_meaning[meaning(name)].append(name)
    by_meaning.pop("", None)
    for synonyms in by_meaning.values():
        if len(synonyms) > 1:
            notes.append(f"the labels {listed(synonyms, 4)} may mean one emotion, and are kept "
                         f"apart; --labels {quote(f'{synonyms[0]}={synonyms[1]}')} makes them one")
    unknown = [f"{name} {count}" for name, count in counts.most_common()
               if words_of(name) and not meaning(name)]
    if unknown:
        first = quote(unknown[0].rpartition(" ")[0] + "=")
        notes.append(f"labels with words that are not known: {listed(unknown, 8)}; --labels "
                     f"renames them, and --labels {first} leaves one out")
    if counts and all(re.fullmatch(r"\d+(\.0*)?", name) for name in counts):
        notes.append("the labels are numbers; --labels 0=anger,1=disgust names them")
    return notes
