"""How well golfers' words are read: on wordings of people that the reader has never heard."""

from collections.abc import Sequence
from dataclasses import dataclass

from golf_nb_utils.evaluation.statistics import wilson
from golf_nb_utils.golf.reader import Reader, Wording


@dataclass(frozen=True)
class Understood:
    """A wording, and what the reader makes of it: its likeliest fault, and how likely that is."""

    wording: Wording
    fault: str
    share: float


def understand(reader: Reader, wordings: Sequence[Wording]) -> list[Understood]:
    """Let the reader read each wording for its area."""
    found = []
    for wording in wordings:
        fault, share = reader.hear(wording.area, wording.text).considered[0]
        found.append(Understood(wording, fault, share))
    return found


def shares(understood: Sequence[Understood], asserted_from: float) -> dict[str, tuple]:
    """Return {name: (share, low, high, n)} where a fault is named from a probability on.

    `found` and `wrong` are shares of the wordings that mean a fault: it is named, another one is.
    `false_alarm` is the share of those that mean none for which one is named all the same. The
    intervals are Wilson's; one author's wordings are taken as independent.
    """
    named = [(each.fault if each.share >= asserted_from else "", each) for each in understood]
    faulty = [(fault, each.wording.fault) for fault, each in named if each.wording.fault]
    none = [fault for fault, each in named if not each.wording.fault]
    counts = {
        "found": (sum(fault == right for fault, right in faulty), len(faulty)),
        "wrong": (sum(fault not in ("", right) for fault, right in faulty), len(faulty)),
        "false_alarm": (sum(fault != "" for fault in none), len(none)),
    }
    return {
        name: (count / n if n else float("nan"), *wilson(count, n), n)
        for name, (count, n) in counts.items()
    }
