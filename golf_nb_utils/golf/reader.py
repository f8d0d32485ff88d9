"""What a golfer's words mean: a fault, what the ball does, or nothing that is known of the area.

People name a fault by what they feel, by what the ball does, by what the app printed: hardly one in
thirty uses its name. So the reader learns from wordings, written by several authors in their own
voices (knowledge/wordings/{author}/{area}.md; knowledge/README.md says how to add some), and is
measured on authors that it has never heard.

A text becomes its words, pairs of words and the character n-grams of each word, weighted by how
rare they are (TF-IDF). One logistic regression a fault says how likely it is, and so does one for
each outcome (topic.OUTCOMES), which may be named in any area; what speaks for a fault of another
area, or for none at all, speaks against those of the area that was asked for. At
some thousand wordings this linear reader reads better than a small language model.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import yaml

from golf_nb_utils.files import MissingArtifactError, Paths, find_folder, write_with
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.denial import undenied
from golf_nb_utils.golf.knowledge import KnowledgeBase, KnowledgeError
from golf_nb_utils.golf.topic import OUTCOMES
from golf_nb_utils.host import input_roots, knowledge_folder, output_root

REGISTERS = ("golfer", "coach", "app")
LONGEST_TEXT = 400
"""Characters that are read: nobody's remark is longer, and none shall cost more than another."""
ASSERTED_FROM = 0.5
"""A fault is named in an answer if it is at least so probable."""
OUTCOME_FROM = 0.3
"""An outcome is named from here on: its answer asserts no fault."""
_REMARK = re.compile(rf"- ({'|'.join(REGISTERS)})(?:, (\w+))?: (\S.*)")
# A gram that fewer wordings have says nothing about the next golfer.
_FEWEST_WORDS, _FEWEST_CHARACTERS = 2, 4
# Inverse strength of the regression's penalty; from 10 to 50 the held-out authors are read alike.
_C = 20.0
# Exponent of the likelihoods, and weight of all that is no fault of the area: what makes the words
# of the validation authors likeliest, of 0.7 to 2 and 0.01 to 1.
_SHARPNESS, _OTHERS = 1.4, 0.02


@dataclass(frozen=True)
class Wording:
    """Something that somebody said, and what it means."""

    text: str
    area: str
    """The area that it was said of, or "" where it may be said of any."""
    meaning: str
    """The id of a fault, a key of OUTCOMES, "follow_up", or "" for nothing that is known."""
    register: str
    kind: str
    """negation, opposite, lefty, jargon; where it means no fault, what it is about instead."""
    author: str
    split: str
    """train, val or test: an author's texts are all of one."""
    chain: str = ""
    """The id of the chain whose cause the words tell as well, or ""."""


def load_wordings(folder: Path, knowledge: KnowledgeBase) -> list[Wording]:
    """Read `folder`/{author}/{area}.md; authors.yaml says to which split each author belongs.

    Raises:
        KnowledgeError: a line is no remark, or stands below no fault and no chain of the area.
        FileNotFoundError: the folder or authors.yaml does not exist.
    """
    authors = yaml.safe_load((folder / "authors.yaml").read_text(encoding="utf-8"))
    # {name of a file: {heading: (meaning, chain)}}
    headings = {area: {"none": ("", "")} for area in AREAS}
    for fault in knowledge.faults:
        chains = {chain.id: (fault.id, chain.id) for chain in knowledge.chains_of(fault.id)}
        headings[fault.area] |= {fault.id: (fault.id, ""), **chains}
    headings["outcomes"] = {outcome: (outcome, "") for outcome in OUTCOMES}
    headings["follow_up"] = {"follow_up": ("follow_up", "")}
    wordings = []
    for path in sorted(folder.glob("*/*.md")):
        if path.name.startswith("."):  # what an operating system puts beside files
            continue
        author, name = path.parent.name, path.stem
        if author not in authors or name not in headings:
            expected = ", ".join(headings)
            raise KnowledgeError(
                f"{path}:1: expected an author of authors.yaml, and as the file's name one of "
                f"{expected}."
            )
        area, means = name if name in AREAS else "", None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("## ") and line[3:] in headings[name]:
                means = headings[name][line[3:]]
            elif (found := _REMARK.fullmatch(line)) and means is not None:
                register, kind, text = found.groups()
                meaning, chain = means
                about = (area, meaning, register, kind or "", author, authors[author]["split"])
                wordings.append(Wording(text, *about, chain))
            elif line:
                known = ", ".join(sorted(headings[name]))
                raise KnowledgeError(
                    f"{path}:{number}: expected '## ' and one of {known}, or below it '- ' and "
                    f"{', '.join(REGISTERS)}: what is said; found {line[:60]!r}."
                )
    return wordings


class Heard(NamedTuple):
    """What the words of a golfer may mean."""

    meaning: str
    """The fault or the outcome that is probable enough to be named: its id or key, or ""."""
    considered: tuple[tuple[str, float], ...]
    """The faults of the area with their probabilities, likeliest first; the rest is none."""
    elsewhere: str
    """The id of the fault of another area that the words mean, or ""."""


class Probabilities(NamedTuple):
    """How likely it is that words mean this or that, likeliest first; all of it is 1."""

    own: dict[str, float]
    """Of the faults of the area that was asked for, and of the outcomes."""
    away: dict[str, float]
    """Of the faults of other areas, and of "" for nothing that is known."""


def heard(probabilities: Probabilities, asserted_from: float = ASSERTED_FROM) -> Heard:
    """Return what words with these probabilities are taken to mean."""
    own, away = probabilities
    meaning, share = next(iter(own.items()))
    considered = tuple((name, share) for name, share in own.items() if name not in OUTCOMES)
    elsewhere, elsewhere_share = next(iter(away.items()))
    return Heard(
        meaning if share >= (OUTCOME_FROM if meaning in OUTCOMES else asserted_from) else "",
        considered,
        elsewhere if elsewhere_share >= asserted_from else "",
    )


@dataclass(frozen=True)
class Reader:
    """Reads which fault of an area words mean; see `train` and `load`."""

    meanings: tuple[str, ...]
    """Ids of faults and keys of OUTCOMES."""
    areas: tuple[str, ...]
    """The area of each fault; "" of an outcome."""
    grams: dict[str, int]
    rarity: np.ndarray
    """Of each gram: its inverse document frequency, float32 [grams]."""
    weights: np.ndarray
    """float32 [grams, meanings + 1]; the last column is for words that mean nothing known."""
    bias: np.ndarray

    def hear(self, area: str, text: str, asserted_from: float = ASSERTED_FROM) -> Heard:
        """Return what `text`, said of `area`, means."""
        return heard(self.probabilities(area, text), asserted_from)

    def probabilities(self, area: str, text: str) -> Probabilities:
        """Return how likely it is that `text`, said of `area`, means this or that.

        What it denies is not heard.
        """
        own, away = self._likelihoods(area, undenied(text[:LONGEST_TEXT]))
        total = sum(own.values()) + sum(away.values())
        own, away = (
            {name: float(each[name] / total) for name in sorted(each, key=each.get, reverse=True)}
            for each in (own, away)
        )
        return Probabilities(own, away)

    def _likelihoods(self, area: str, text: str) -> tuple[dict[str, float], dict[str, float]]:
        """Of the area's faults and the outcomes; and of other areas' faults and "" (none)."""
        places, values = vector(text, self.grams, self.rarity)
        scores = values @ self.weights[places] + self.bias
        # exp(-log(1 + exp(-x))) is the logistic function, without an overflow.
        likelihoods = np.exp(-_SHARPNESS * np.logaddexp(0, -scores.astype(np.float64)))
        own: dict[str, float] = {}
        away = {"": _OTHERS * float(likelihoods[-1])}
        for name, its_area, share in zip(self.meanings, self.areas, likelihoods, strict=False):
            if its_area in (area, ""):
                own[name] = float(share)
            else:
                away[name] = _OTHERS * float(share)
        return own, away

    def save(self, path: Path) -> Path:
        """Write the reader as a .npz file without pickled objects, and return `path`."""
        arrays = {
            "meanings": np.array(self.meanings),
            "areas": np.array(self.areas),
            "grams": np.array(list(self.grams)),
            "rarity": self.rarity,
            # Half the digits are enough, and half the file.
            "weights": self.weights.astype(np.float16),
            "bias": self.bias,
        }

        def write(part: Path) -> None:
            with open(part, "wb") as file:
                np.savez_compressed(file, **arrays)

        return write_with(path, write)


def find_reader(knowledge: KnowledgeBase, root: str = "") -> Reader:
    """Return the reader that notebook 01 left under `root`, or one that learns now.

    To learn takes twenty seconds. A reader of other faults than those of `knowledge` is no use.
    """
    paths = Paths(output_root(root))
    name = reader_path(paths.data).name
    try:
        reader = load(find_folder(paths.data, paths.root, "01", input_roots(), name) / name)
        if reader.meanings == meanings_of(knowledge)[0]:
            return reader
    except MissingArtifactError:
        # Nobody has run notebook 01, or a version of it that left no reader.
        pass
    return train(load_wordings(wordings_folder(), knowledge), knowledge)


def reader_path(folder: Path) -> Path:
    """Return the path of the reader in the data folder."""
    return folder / "golf_feedback_reader.npz"


def wordings_folder() -> Path:
    """Return knowledge/wordings, beside the knowledge base."""
    return knowledge_folder().parent / "wordings"


def load(path: Path) -> Reader:
    """Read what Reader.save wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none that `save` wrote.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); run notebook 01 again.") from error
    try:
        meanings, areas, grams = (arrays[name].tolist() for name in ("meanings", "areas", "grams"))
        places = {gram: place for place, gram in enumerate(grams)}
        weights, rarity = arrays["weights"].astype(np.float32), arrays["rarity"]
        return Reader(tuple(meanings), tuple(areas), places, rarity, weights, arrays["bias"])
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}, so it is no reader; run notebook 01.") from error


def meanings_of(knowledge: KnowledgeBase) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return all that words can mean (ids of faults, keys of OUTCOMES), and the area of each."""
    area_of = {fault.id: fault.area for fault in knowledge.faults} | dict.fromkeys(OUTCOMES, "")
    return tuple(area_of), tuple(area_of.values())


def train(wordings: Iterable[Wording], knowledge: KnowledgeBase) -> Reader:
    """Learn from all wordings but those of the test authors.

    A fault's name counts as a wording of it, so that one that somebody added without wordings is
    understood by its name.
    """
    # Not needed to read, and slow to import.
    from scipy.sparse import csr_array
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    # Of what was tried in vain no reader has to learn, see golf.follow_up.
    learnt = [(w.text, w.meaning) for w in wordings if w.split != "test"]
    learnt = [(text, meaning) for text, meaning in learnt if meaning != "follow_up"]
    learnt += [(fault.name, fault.id) for fault in knowledge.faults]
    learnt += [(label, outcome) for outcome, label in OUTCOMES.items()]
    texts, means = zip(*learnt, strict=True)
    grams, rarity = vocabulary(texts)
    rows = [vector(text, grams, rarity) for text in texts]
    ends = np.cumsum([0, *(len(places) for places, _ in rows)], dtype=np.int32)
    places, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    matrix = csr_array((values, places, ends), shape=(len(rows), len(grams)))
    # The processes share it, and may only read.
    matrix.sum_duplicates()
    model = LogisticRegression(C=_C, solver="liblinear", dual=True, tol=0.1, random_state=0)
    # Processes cost a few seconds to start.
    n_jobs = -1 if len(texts) > 5000 else None
    fitted = OneVsRestClassifier(model, n_jobs=n_jobs).fit(matrix, np.array(means))
    meanings, areas = meanings_of(knowledge)
    of_class = dict(zip(fitted.classes_, fitted.estimators_, strict=True))
    models = [of_class[meaning] for meaning in (*meanings, "")]
    weights = np.stack([model.coef_[0] for model in models], axis=1).astype(np.float32)
    bias = np.array([model.intercept_[0] for model in models], np.float32)
    return Reader(meanings, areas, grams, rarity, weights, bias)


# A text as numbers.


# What turns the seven words after it into their opposite, as far as no "but" comes between.
_DENIED = re.compile(
    r"\b(?:no|not|never|nor|neither|without|hardly|stopped|cured|fixed|\w+n'?t)\b"
    r"((?:[^\w.,;:!?]+(?!but\b|it's\b|just\b)[\w']+){1,7})"
)
# What turns all of a remark into its opposite.
_OVER = re.compile(r"\b(?:used to|any ?more|gone|cured|sorted|no longer)\b")


def _grams_of(text: str) -> tuple[Counter, Counter]:
    """How often it has each word or pair of words, and each four characters of a word.

    A word that is denied counts once more, with a mark: "never sway" is no sway.
    """
    text = text.casefold().replace("\u2019", "'")
    words = re.findall(r"[\w']+|[%°]", text)
    pairs = (" ".join(pair) for pair in pairwise(words))
    denied = re.findall(r"[\w']+", " ".join(_DENIED.findall(text)))
    denied += words if _OVER.search(text) else []
    characters = Counter(
        f"{padded[start : start + 4]}*"
        for padded in (f" {word} " for word in text.split())
        for start in range(len(padded) - 3)
    )
    return Counter((*words, *pairs, *(f"not {word}" for word in set(denied)))), characters


def vocabulary(texts: Sequence[str]) -> tuple[dict[str, int], np.ndarray]:
    """Return the grams that are worth counting, {gram: place}, and how rare each one is."""
    counted = [_grams_of(text) for text in texts]
    kept: dict[str, float] = {}
    for kind, fewest in enumerate((_FEWEST_WORDS, _FEWEST_CHARACTERS)):
        n_texts = Counter(gram for grams in counted for gram in grams[kind])
        kept |= {
            gram: 1 + np.log((1 + len(texts)) / (1 + n))
            for gram, n in sorted(n_texts.items())
            if n >= fewest
        }
    return {gram: place for place, gram in enumerate(kept)}, np.array([*kept.values()], np.float32)


def vector(text: str, grams: dict[str, int], rarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places and the values of a text's grams; words and characters have length 1."""
    places, values = [], []
    for counts in _grams_of(text):
        known = {grams[gram]: n for gram, n in counts.items() if gram in grams}
        own = np.fromiter(known, np.int32, len(known))
        weights = rarity[own] * (1 + np.log(np.fromiter(known.values(), np.float32, len(known))))
        places.append(own)
        values.append(weights / (np.sqrt(np.sum(weights**2)) or 1.0))
    return np.concatenate(places), np.concatenate(values).astype(np.float32)
