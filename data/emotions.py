"""What labels mean: the words by which data sets name emotions, and labels that mean one thing."""

import collections
import re
import unicodedata

from utils import Problem, listed

import numpy as np

EMOTION_NAMES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral",
                 "SA": "sadness", "SU": "surprise"}  # JAFFE's codes

# Those of JAFFE, KDEF (AF: afraid) and CREMA-D.
CODES = {"an": "anger", "ang": "anger", "di": "disgust", "dis": "disgust", "fe": "fear",
         "af": "fear", "fea": "fear", "ha": "happiness", "hap": "happiness", "ne": "neutral",
         "neu": "neutral", "sa": "sadness", "su": "surprise", "sur": "surprise", "con": "contempt"}
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


def bare(text):
    """A word without case and accents, however they are encoded."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


MEANINGS = {bare(word): meaning for meaning, words in WORDS.items() for word in words.split()}


def words_of(label):
    """A label's words, without numbers and signs: "01-Happily_Surprised" has two."""
    return re.findall(r"[^\W\d_]+", bare(label))


def meaning(label):
    """"anger" of "angry", "wütend" and "AN"; "" of what has a word that is not known."""
    if label.casefold() in CODES:
        return CODES[label.casefold()]
    meanings = [MEANINGS.get(word, "") for word in words_of(label)]
    return " ".join(meanings) if all(meanings) else ""


def emotion_words(text):
    """["angry"] of "S1_angry_01": the words for emotions in a name, as they are written."""
    return [word for word in re.findall(r"[^\W\d_]+", text) if bare(word) in MEANINGS]


def names_emotion(text):
    """Whether a folder's name has a word for an emotion in it, or is the code of one."""
    return text.casefold() in CODES or any(word in MEANINGS for word in words_of(text))


def same_spelling(label):
    """The key under which labels count as one: whatever their case, encoding of accents, blanks."""
    return " ".join(unicodedata.normalize("NFC", label.casefold()).split())


def parsed_labels(text):
    """{label: its new name} of "angry=anger,1=surprise", by their `same_spelling`."""
    renamed = {}
    for pair in text.split(",") if text else ():
        old, _, new = (part.strip() for part in pair.partition("="))
        if not old or not new or "=" in new:
            raise Problem(f"--labels {text}: '{pair}' is not of the form angry=anger,1=surprise")
        renamed[same_spelling(old)] = unicodedata.normalize("NFC", new)
    return renamed


def unified(emotions, labels, strict=True):
    """Labels with one spelling for each.

    Parameters
    ----------
    emotions : list of n labels as the data set has them
    labels : "angry=anger,1=surprise", or ""
    strict : whether each label to be renamed has to occur; else a note says which do not

    Returns
    -------
    str (n,), and what a user has to know: sentences
    """
    spellings = collections.defaultdict(collections.Counter)
    for emotion in emotions:
        spellings[same_spelling(emotion)][" ".join(emotion.split())] += 1
    names, notes = {}, []
    for key, counts in spellings.items():
        most = max(sorted(counts, reverse=True), key=counts.__getitem__)
        code = most.upper() in EMOTION_NAMES  # JAFFE's codes are written in capitals
        names[key] = most.upper() if code else unicodedata.normalize("NFC", most)
        if len(counts) > 1 and not code:
            notes.append(f"the labels {listed(sorted(map(repr, counts)), 4)} are one: "
                         f"{names[key]}")
    renamed, as_it_is = parsed_labels(labels), dict(names)
    for key, new in renamed.items():
        if key in names:  # a new name that is there in another spelling is that label
            there = same_spelling(new)
            names[key] = new if there in renamed else as_it_is.get(there, new)
            continue
        said = f"--labels {labels}: no face has the label {key}; there are " \
            f"{listed(sorted(names.values()), 12)}"
        if strict:
            raise Problem(said)
        notes.append(said)
    meanings = collections.defaultdict(list)
    for name in sorted(set(names.values())):
        if meaning(name):
            meanings[meaning(name)].append(name)
    for alike in meanings.values():
        if len(alike) > 1:
            notes.append(f"the labels {listed(alike, 4)} may mean one emotion, and are kept apart; "
                         f"--labels {alike[0]}={alike[1]} makes them one")
    result = [names[same_spelling(emotion)] for emotion in emotions]
    unknown = [f"{name} {count}" for name, count in collections.Counter(result).most_common()
               if words_of(name) and not meaning(name)]
    if unknown:
        notes.append(f"labels with words that are not known: {listed(unknown, 8)}; where these are "
                     f"no emotions, move the files away, or rename with --labels")
    if all(re.fullmatch(r"\d+(\.0*)?", name) for name in names.values()):
        notes.append("the labels are numbers; --labels 0=anger,1=disgust names them")
    return np.array(result), notes
