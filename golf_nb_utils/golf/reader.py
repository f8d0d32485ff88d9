"""Which fault a golfer's words mean, how sure that is, or that they mean none of the area.

People name a fault by what they feel, by what the ball does, by what the app printed: hardly one in
thirty uses its name. So the reader learns from wordings, written by several authors in their own
voices (knowledge/wordings/{author}/{area}.md; knowledge/README.md says how to add some), and is
measured on authors that it has never heard.

A text becomes its words, pairs of words and the character n-grams of each word, weighted by how
rare they are (TF-IDF). One logistic regression a fault says how likely it is; what speaks for a
fault of another area, or for none at all, speaks against those of the area that was asked for. At
some thousand wordings this linear reader reads better than a small language model.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from golf_nb_utils.files import MissingArtifactError, Paths, find_folder, write_with
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.knowledge import KnowledgeBase, KnowledgeError
from golf_nb_utils.host import input_roots, knowledge_folder, output_root

REGISTERS = ("golfer", "coach", "app")
LONGEST_TEXT = 400
"""Characters that are read: nobody's remark is longer, and none shall cost more than another."""
ASSERTED_FROM = 0.5
"""A fault is named in an answer if it is at least so probable."""
_REMARK = re.compile(rf"- ({'|'.join(REGISTERS)})(?:, (\w+))?: (\S.*)")
# A gram that fewer wordings have says nothing about the next golfer.
_FEWEST_WORDS, _FEWEST_CHARACTERS = 2, 4
# Inverse strength of the regression's penalty; from 10 to 50 the held-out authors are read alike.
_C = 20.0


@dataclass(frozen=True)
class Wording:
    """Something that somebody said of an area, and the id of the fault that it means, or ""."""

    text: str
    area: str
    fault: str
    register: str
    kind: str
    """negation, opposite, lefty, jargon; where it means no fault, what it is about instead."""
    author: str
    split: str
    """train, val or test: an author's texts are all of one."""


def load_wordings(folder: Path, knowledge: KnowledgeBase) -> list[Wording]:
    """Read `folder`/{author}/{area}.md; authors.yaml says to which split each author belongs.

    Raises:
        KnowledgeError: a line is no remark, or stands below no fault of the file's area.
        FileNotFoundError: the folder or authors.yaml does not exist.
    """
    authors = yaml.safe_load((folder / "authors.yaml").read_text(encoding="utf-8"))
    wordings = []
    for path in sorted(folder.glob("*/*.md")):
        author, area = path.parent.name, path.stem
        faults = {fault.id for fault in knowledge.faults if fault.area == area}
        if author not in authors or not faults:
            raise KnowledgeError(
                f"{path}:1: expected an author of authors.yaml and an area as the file's name."
            )
        fault = None
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("## ") and line[3:] in faults | {"none"}:
                fault = line[3:].replace("none", "")
            elif (found := _REMARK.fullmatch(line)) and fault is not None:
                register, kind, text = found.groups()
                about = (area, fault, register, kind or "", author, authors[author]["split"])
                wordings.append(Wording(text, *about))
            elif line:
                raise KnowledgeError(
                    f"{path}:{number}: expected '## ' and a fault of {area} (or none), or below it "
                    f"'- ' and {', '.join(REGISTERS)}: what is said; found {line[:60]!r}."
                )
    return wordings


class Heard(NamedTuple):
    """What the words of a golfer may mean."""

    fault: str
    """The id of the fault that is probable enough to be named, or ""."""
    considered: tuple[tuple[str, float], ...]
    """The faults of the area with their probabilities, likeliest first; the rest is none."""
    elsewhere: str
    """The area to which the words belong if they speak of another one, or ""."""


@dataclass(frozen=True)
class Reader:
    """Reads which fault of an area words mean; see `train` and `load`."""

    faults: tuple[str, ...]
    areas: tuple[str, ...]
    """The area of each fault."""
    grams: dict[str, int]
    rarity: np.ndarray
    """Of each gram: its inverse document frequency, float32 [grams]."""
    weights: np.ndarray
    """float32 [grams, faults + 1]; the last column is for words that mean no fault at all."""
    bias: np.ndarray
    sharpness: float = 1.4
    """Exponent of the faults' likelihoods; found on the validation authors, where there are any."""
    others: float = 0.02
    """Weight of all that is no fault of the area; found there, too."""

    def hear(self, area: str, text: str, asserted_from: float = ASSERTED_FROM) -> Heard:
        """Return what `text`, said of `area`, means."""
        own, away = self._likelihoods(area, text[:LONGEST_TEXT])
        total = sum(own.values()) + sum(away.values())
        considered = tuple((fault, float(own[fault] / total)) for fault in sorted(own, key=own.get))
        considered = considered[::-1]
        fault, share = considered[0] if considered else ("", 0.0)
        nearest = max(away, key=away.get)
        far = nearest if away[nearest] > 0.5 * total else ""
        return Heard(fault if share >= asserted_from else "", considered, far)

    def _likelihoods(self, area: str, text: str) -> tuple[dict[str, float], dict[str, float]]:
        """Of the faults of the area, and of the other areas and "" (none)."""
        places, values = _vector(text, self.grams, self.rarity)
        scores = values @ self.weights[places] + self.bias
        # exp(-log(1 + exp(-x))) is the logistic function, without an overflow.
        likelihoods = np.exp(-self.sharpness * np.logaddexp(0, -scores.astype(np.float64)))
        own: dict[str, float] = {}
        away = dict.fromkeys((*AREAS, ""), 0.0)
        del away[area]
        away[""] = self.others * float(likelihoods[-1])
        for fault, its_area, likelihood in zip(self.faults, self.areas, likelihoods, strict=False):
            if its_area == area:
                own[fault] = float(likelihood)
            else:
                away[its_area] += self.others * float(likelihood)
        return own, away

    def save(self, path: Path) -> Path:
        """Write the reader as a .npz file without pickled objects, and return `path`."""
        arrays = {
            "faults": np.array(self.faults),
            "areas": np.array(self.areas),
            "grams": np.array(list(self.grams)),
            "rarity": self.rarity,
            # Half the digits are enough, and half the file.
            "weights": self.weights.astype(np.float16),
            "bias": self.bias,
            "calibration": np.array([self.sharpness, self.others]),
        }

        def write(part: Path) -> None:
            with open(part, "wb") as file:
                np.savez_compressed(file, **arrays)

        return write_with(path, write)


def find_reader(knowledge: KnowledgeBase, root: str = "") -> Reader:
    """Return the reader that notebook 01 left under `root`, or one that learns now.

    To learn takes ten seconds. A reader of other faults than those of `knowledge` is no use.
    """
    paths = Paths(output_root(root))
    name = reader_path(paths.data).name
    try:
        reader = load(find_folder(paths.data, paths.root, "01", input_roots(), name) / name)
        if reader.faults == tuple(fault.id for fault in knowledge.faults):
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
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    try:
        faults, areas, grams = (arrays[name].tolist() for name in ("faults", "areas", "grams"))
        sharpness, others = arrays["calibration"].tolist()
        places = {gram: place for place, gram in enumerate(grams)}
        weights, rarity = arrays["weights"].astype(np.float32), arrays["rarity"]
        return Reader(
            tuple(faults), tuple(areas), places, rarity, weights, arrays["bias"], sharpness, others
        )
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}, so it is no reader; run notebook 01.") from error


def train(wordings: Iterable[Wording], knowledge: KnowledgeBase) -> Reader:
    """Learn from the wordings of the training authors, and calibrate on the validation authors.

    Then it learns once more, from both. A fault's name counts as a wording of it, so that one that
    somebody added without wordings is understood by its name.
    """
    wordings = list(wordings)
    named = [
        Wording(fault.name, fault.area, fault.id, "app", "", "", "train")
        for fault in knowledge.faults
    ]
    learnt = [each for each in wordings if each.split == "train"] + named
    validation = [each for each in wordings if each.split == "val"]
    if not validation:
        return _fitted(learnt, knowledge)
    calibration = _calibration(_fitted(learnt, knowledge), validation)
    return replace(_fitted(learnt + validation, knowledge), **calibration)


def _fitted(wordings: list[Wording], knowledge: KnowledgeBase) -> Reader:
    # Not needed to read, and slow to import.
    from scipy.sparse import csr_array
    from sklearn.linear_model import LogisticRegression

    texts = [each.text for each in wordings]
    grams, rarity = _vocabulary(texts)
    rows = [_vector(text, grams, rarity) for text in texts]
    ends = np.cumsum([0, *(len(places) for places, _ in rows)], dtype=np.int32)
    places, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    matrix = csr_array((values, places, ends), shape=(len(rows), len(grams)))
    area_of = {fault.id: fault.area for fault in knowledge.faults}
    means = np.array([each.fault for each in wordings])
    weights = np.zeros((len(grams), len(area_of) + 1), np.float32)
    bias = np.zeros(len(area_of) + 1, np.float32)
    for column, fault in enumerate((*area_of, "")):
        model = LogisticRegression(C=_C, solver="liblinear", dual=True, tol=0.1, random_state=0)
        model.fit(matrix, means == fault)
        weights[:, column], bias[column] = model.coef_[0], model.intercept_[0]
    faults, areas = tuple(area_of), tuple(area_of.values())
    return Reader(faults, areas, grams, rarity, weights, bias)


def _calibration(reader: Reader, wordings: list[Wording]) -> dict[str, float]:
    """The sharpness and the weight of the others under which the wordings are likeliest."""
    reader = replace(reader, sharpness=1.0, others=1.0)
    given = []
    for each in wordings:
        own, away = reader._likelihoods(each.area, each.text)
        right = own[each.fault] if each.fault else sum(away.values())
        given.append((right, list(own.values()), sum(away.values()), bool(each.fault)))

    def loss(calibration: tuple[float, float]) -> float:
        sharpness, others = calibration
        total = 0.0
        for right, own, away, is_fault in given:
            rest = others * away**sharpness
            mine = right**sharpness if is_fault else rest
            total -= np.log(mine / (sum(each**sharpness for each in own) + rest))
        return total

    grid = product((0.7, 1.0, 1.4, 2.0), (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0))
    return dict(zip(("sharpness", "others"), min(grid, key=loss), strict=True))


# A text as numbers.


def _grams_of(text: str) -> tuple[Counter, Counter]:
    """How often it has each word or pair of words, and each 3 or 4 characters of a word."""
    words = re.findall(r"[\w']+|[%°]", text.casefold())
    pairs = (" ".join(pair) for pair in pairwise(words))
    characters = Counter(
        f"{padded[start : start + size]}*"
        for padded in (f" {word} " for word in text.casefold().split())
        for size in (3, 4)
        for start in range(len(padded) - size + 1)
    )
    return Counter((*words, *pairs)), characters


def _vocabulary(texts: list[str]) -> tuple[dict[str, int], np.ndarray]:
    """The grams that are worth counting, and how rare each one is."""
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


def _vector(text: str, grams: dict[str, int], rarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The places and the values of a text's grams; words and characters have length 1 each."""
    places, values = [], []
    for counts in _grams_of(text):
        known = {grams[gram]: n for gram, n in counts.items() if gram in grams}
        own = np.fromiter(known, np.int32, len(known))
        weights = rarity[own] * (1 + np.log(np.fromiter(known.values(), np.float32, len(known))))
        places.append(own)
        values.append(weights / (np.sqrt(np.sum(weights**2)) or 1.0))
    return np.concatenate(places), np.concatenate(values).astype(np.float32)
