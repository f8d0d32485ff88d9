"""Feedback for the app: generators behind its one interface, which give out only what is verified.

A generator writes an answer, and Verifier holds it against the request and the knowledge base. An
answer that fails is never given out: more are written, and after `max_attempts` the template
answers, which draws one of the right answers at random. `verification` in the result says what was
done, and which entry of the knowledge base each sentence is.

    generator = FineTunedGolfFeedbackGenerator.load()
    feedback = generator.generate_feedback(
        "balance", "Falling onto the heels", 0.45, 0.80, 0.35, "high"
    )
"""

import hashlib
import re
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import tiktoken
import torch

from golf_nb_utils.coach.packing import pack
from golf_nb_utils.evaluation.words import WEIGHTS, ModelReader, together
from golf_nb_utils.files import ArtifactMismatchError, Paths, find_folder, read_json
from golf_nb_utils.golf.answer import places
from golf_nb_utils.golf.app_request import ARGUMENTS
from golf_nb_utils.golf.causes import Causes
from golf_nb_utils.golf.checks import CHECKS, Verdict, Verifier
from golf_nb_utils.golf.follow_up import says_it_did_not_help
from golf_nb_utils.golf.grammar import Answer, GrammarError
from golf_nb_utils.golf.knowledge import Advice, KnowledgeBase, load_knowledge
from golf_nb_utils.golf.plain import entries
from golf_nb_utils.golf.reader import (
    ASSERTED_FROM,
    Heard,
    Probabilities,
    Reader,
    find_reader,
    heard,
    load_wordings,
    wordings_folder,
)
from golf_nb_utils.golf.request import Request
from golf_nb_utils.golf.topic import OUTCOMES
from golf_nb_utils.golf.wording import REFERRED, SAY_BY_ID, WITHOUT_SCORE
from golf_nb_utils.gpt2.checkpoints import load_model
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.gpt2.sampling import generate_batch, in_batches, stream_batch
from golf_nb_utils.gpt2.steering import Row, Steerer
from golf_nb_utils.gpt2.tokenizer import load_tokenizer, token_ids_to_text
from golf_nb_utils.host import detect_devices, input_roots, knowledge_folder, output_root
from golf_nb_utils.prompt import format_input
from golf_nb_utils.settings import SampleConfig, resolve_model_size

TEMPLATE = "template"
_SAID_WITHOUT_SCORES = {*WITHOUT_SCORE, *REFERRED, *SAY_BY_ID}


class WritingError(RuntimeError):
    """A generator could not write an answer; the message says why.

    `cut` is what it wrote before the context was full, where that is the reason.
    """

    def __init__(self, message: str, cut: str | None = None):
        super().__init__(message)
        self.cut = cut


@dataclass
class _Asked:
    """A request on its way to an answer."""

    request: Request
    remarks: list[str]
    seed: int
    kind: str
    """Of the answer: see GrammarBook.kind_of."""
    fault: str
    """The id of the fault of the area that the words mean, or ""."""
    refused: list[dict] = field(default_factory=list)
    """For each attempt that failed: its number, how many candidates failed which check, and why."""
    heard: Heard | None = None
    """What the golfer's words mean, where there are any."""

    @property
    def entry(self) -> dict[str, str]:
        """Instruction and input of its prompt."""
        return self.request.entry()

    def refuse(self, reasons: list[str], attempt: int = 0, n: int = 0, failed: dict | None = None):
        """Note that an attempt failed."""
        attempt = attempt or len(self.refused) + 1
        note = {"attempt": attempt, "candidates": n, "failed": failed or {}, "reasons": reasons}
        self.refused.append(note)

    def verification(
        self, generated_by: str, checks: dict[str, bool], read: str | None, chain: str
    ) -> dict:
        """What was done for the answer, without its sentences; `read` is what the model read."""
        considered = self.heard.considered if self.heard else ()
        return {
            "passed": all(checks.values()),
            "attempts": len(self.refused) + (generated_by != TEMPLATE),
            "remarks": self.remarks,
            "checks": checks,
            "refused": self.refused,
            "seed": self.seed,
            "input": read,
            "kind": self.kind,
            "fault": self.fault,
            "chain": chain,
            "considered": [[fault, round(share, 3)] for fault, share in considered],
        }


@dataclass
class Writing:
    """An answer that is written beside others, see FineTunedGolfFeedbackGenerator.begin."""

    asked: _Asked
    row: Row | None = None
    """Where the model is; None where no model is needed, or none could begin."""
    error: WritingError | None = None


class LLMFeedbackGenerator(ABC):
    """The app's interface: reads a request, verifies what a subclass writes, and has the template.

    Threads may share a generator. The same request and seed give the same answer, whatever was
    asked before.
    """

    generated_by = ""
    is_steered = False
    """Whether what is being written is right at every moment, see stream_feedback."""
    asserted_from = ASSERTED_FROM
    """How probable a fault has to be, 0..1, before an answer takes it as said."""

    def __init__(
        self,
        knowledge: KnowledgeBase | None = None,
        max_attempts: int = 2,
        seed: int = 123,
        reader: Reader | None = None,
    ):
        """Take `knowledge` (by default the project's own) and how often answers are written.

        After `max_attempts` the template answers. `reader` is by default the one that notebook 01
        left; where there is none, it learns from the wordings when words first have to be read.
        """
        self.knowledge = knowledge or load_knowledge(knowledge_folder())
        self.max_attempts = max_attempts
        self.seed = seed
        self._verifier = Verifier(self.knowledge)
        self._names = names_of(self.knowledge)
        self._drills = {
            drill.name: {fixed.rstrip("abcdefgh") for fixed in drill.fixes}
            for drill in self.knowledge.drills
        }
        self._reader = reader
        self._output_root = ""
        self._places = places(self.knowledge)

    # The eleven parameters are the app's own.
    def generate_feedback(
        self,
        area,
        issue,
        current_score,
        target_score,
        gap,
        impact_level,
        swing_type=None,
        golfer_context=None,
        all_quality_scores=None,
        all_weaknesses=None,
        all_strengths=None,
    ) -> dict:
        """Return verified feedback; no value of any argument makes it raise.

        golf.app_request says how each one is read. The keys are what_should_happen,
        what_is_happening, what_to_do (the parts without their headings), suggestion (the whole
        text), drill (the whole drill as the knowledge base has it), key_points (the steps and the
        swing thought), generated_by (the model, or "template"), and `verification`: passed, checks,
        attempts, refused (for each attempt that failed its number of candidates, how many failed
        which check, and the reasons of the best of them), remarks (what to change in the request),
        seed, input (what the model read), kind (see GrammarBook.kind_of), fault (the id of the one
        that the words mean, or ""), chain (the id of the advice that is given, or ""), considered
        (fault ids with probabilities, likeliest first) and sentences (text, id, file and line,
        sources). All of it is plain JSON.
        """
        given = locals()
        return self.generate_many([{name: given[name] for name in ARGUMENTS}])[0]

    def generate_many(self, requests: list[dict]) -> list[dict]:
        """Return what generate_feedback returns for each dict of its arguments, in their order.

        Any argument may be missing. What is no list is read as the only request; no value makes it
        raise.
        """
        return self._answered([self._read(arguments) for arguments in entries(requests)])

    def stream_feedback(self, **arguments) -> Iterator[str | dict]:
        """Yield the first answer as it grows, and last of all what generate_feedback returns.

        Of a steered model every text is the beginning of a right answer, and the dict has the whole
        of it. Of any other the texts are not verified: show them as a draft that is marked as such;
        the dict's answer may be another one.
        """
        asked = self._read(arguments)
        first: list[str] | WritingError | None = None
        if asked.request.is_scored and self.max_attempts:
            first = [""]
            try:
                for text in self._stream(asked.entry):
                    first = [text]
                    yield text
            except WritingError as error:
                first = error
        yield self._answered([asked], first)[0]

    def unverified(self, entries: list[dict]) -> list[str]:
        """Return what the model writes first for each entry (instruction and input), unchecked.

        This is for an evaluation, not for a golfer: an answer that the context cuts is one, too.

        Raises:
            WritingError: one of them could not be written.
        """
        seeds = [self._seed_of(entry["input"]) for entry in entries]
        return [_or_raise(written)[0] for written in self._write(entries, seeds, 1)]

    @abstractmethod
    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        """For each entry (instruction, input) the answers of this attempt, or why there is none."""

    def _best(self, entry: dict, answers: list[str]) -> str:
        """Which of several verified answers is given."""
        return answers[0]

    def _stream(self, entry: dict) -> Iterator[str]:
        """The answer of the first attempt as it grows. Raises WritingError."""
        (written,) = self._write([entry], [self._seed_of(entry["input"])], 1)
        yield from _or_raise(written)

    def _hear(self, area: str, text: str) -> Heard:
        """What words mean; a fault's own name needs no reader."""
        for fault in self.knowledge.faults:
            if (fault.area, fault.name.casefold()) == (area, text.strip().casefold()):
                return Heard(fault.id, ((fault.id, 1.0),), "")
        texts = [text]
        if says_it_did_not_help(text):
            # What was tried stands beside what is still wrong, which is heard better by itself.
            texts += [part for part in re.split(r"[,.;:!?]|\bbut\b", text) if part.strip()]
        found = [self._probabilities(area, each) for each in texts]
        return heard(max(found, key=lambda each: max(each.own.values())), self.asserted_from)

    def _probabilities(self, area: str, text: str) -> Probabilities:
        """How likely it is that words mean this or that."""
        return self.reader.probabilities(area, text)

    @property
    def verifier(self) -> Verifier:
        """What judges the answers."""
        return self._verifier

    @property
    def reader(self) -> Reader:
        """What reads the golfer's words."""
        if self._reader is None:
            self._reader = find_reader(self.knowledge, self._output_root)
        return self._reader

    @cached_property
    def _causes(self) -> Causes:
        return Causes(self.knowledge, load_wordings(wordings_folder(), self.knowledge), self.reader)

    def advice_for(self, request: Request) -> list[Advice]:
        """Return what a coach would tell: of a fault the chain whose cause the words point to."""
        book = self._verifier.book
        advice = book.advice_for(request)
        if book.kind_of(request) not in ("fault", "follow_up") or len(advice) == 1:
            return advice
        # Where nothing was said, the commonest cause is the first.
        words = request.observation
        return [self._causes.choose(advice, words)] if words else advice[:1]

    def _read(self, arguments: dict, meaning: str = "") -> _Asked:
        """What is asked; `meaning` is what the words mean, where somebody has read them already."""
        book, hear = self._verifier.book, self._hear
        if meaning:
            hear = lambda area, _: self._hear(area, meaning)  # noqa: E731
        request, heard, remarks = Request.from_app(arguments, hear, self._names, self._drills)
        fault, kind = book.fault_of(request), book.kind_of(request)
        if fault and fault.area == request.area and kind == "unclear" and request.is_scored:
            remarks.append(
                f"issue means {fault.name!r}, of which nothing is known for this club, level and "
                "gap; the answer asserts no fault."
            )
            request = request.said(request.observation)
        text = request.text if request.is_scored else str(request)
        named = fault.id if kind in ("fault", "follow_up") else ""
        return _Asked(request, remarks, self._seed_of(text), kind, named, heard=heard)

    def _answered(
        self, asked: list[_Asked], first: list[str] | WritingError | None = None
    ) -> list[dict]:
        """Verified feedback for each request.

        `first` is the first attempt at the only one, where that is written already.
        """
        results: dict[int, dict] = {}
        waiting = [place for place, each in enumerate(asked) if each.request.is_scored]
        for attempt in range(1, self.max_attempts + 1):
            if not waiting:
                break
            written = [first] if first is not None and attempt == 1 else self._write(
                [asked[place].entry for place in waiting],
                [asked[place].seed for place in waiting],
                attempt,
            )  # fmt: skip
            tried, waiting = waiting, []
            for place, answers in zip(tried, written, strict=True):
                if isinstance(answers, WritingError) or not answers:
                    # Who cannot write is not asked again.
                    asked[place].refuse([str(answers or "no answer was written.")], attempt)
                elif found := self._passing(asked[place], answers, attempt):
                    results[place] = self._result(asked[place], *found, self.generated_by)
                else:
                    waiting.append(place)
        return [
            results[place] if place in results else self._from_template(each)
            for place, each in enumerate(asked)
        ]

    def _passing(
        self, asked: _Asked, answers: list[str], attempt: int
    ) -> tuple[str, Verdict] | None:
        """The best answer that passes, and its verdict; without one, note what was wrong."""
        # The same text twice is one candidate.
        texts = dict.fromkeys(text.strip() for text in answers)
        verdicts = {text: self._verifier.verify(text, asked.request.text) for text in texts}
        passed = [text for text, verdict in verdicts.items() if verdict.passed]
        if passed:
            best = passed[0] if len(passed) == 1 else self._best(asked.entry, passed)
            return best, verdicts[best]
        checks = [name for found in verdicts.values() for name in CHECKS if not found.checks[name]]
        nearest = min(verdicts.values(), key=lambda verdict: len(verdict.reasons))
        asked.refuse(list(nearest.reasons), attempt, len(texts), dict(Counter(checks)))
        return None

    def _from_template(self, asked: _Asked) -> dict:
        """One of the right answers, drawn at random, or general advice where there is none."""
        request = asked.request
        if request.is_scored:
            try:
                text = self._verifier.book.draw(request, asked.seed).text
                verdict = self._verifier.verify(text, request.text)
                if verdict.passed:
                    return self._result(asked, text, verdict, TEMPLATE)
                asked.refuse(list(verdict.reasons))
            except GrammarError as error:
                # A knowledge base of one's own may have nothing for this golfer.
                asked.refuse([str(error)])
        bare = replace(request, current_score=None, target_score=None)
        answer = self._verifier.book.draw(bare, asked.seed)
        known = self._verifier.index.keys() | _SAID_WITHOUT_SCORES
        checks = {"grounded": known.issuperset(answer.names), "no_scores": "%" not in answer.text}
        return self._packed(asked, answer, TEMPLATE, checks, None)

    def _seed_of(self, text: str) -> int:
        # Six bytes stay exact in the JSON of any language.
        digest = hashlib.blake2b(f"{self.seed}/{text}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big")

    def _result(self, asked: _Asked, text: str, verdict: Verdict, generated_by: str) -> dict:
        answer = Answer(text, tuple((span.text, span.origin) for span in verdict.sentences))
        read = asked.request.text
        return self._packed(asked, answer, generated_by, verdict.checks, read)

    def _packed(
        self,
        asked: _Asked,
        answer: Answer,
        generated_by: str,
        checks: dict[str, bool],
        read: str | None,
    ) -> dict:
        about = self._verifier.book.about(answer.names)
        verification = asked.verification(generated_by, checks, read, about["chain"])
        index = self._verifier.index
        told = " ".join(
            text for text, name in answer.sentences if name in index and index[name].drill
        )
        return pack(answer, told, self._places, generated_by, verification)


def names_of(knowledge: KnowledgeBase) -> dict[str, str]:
    """Return how a request names what words mean: {id of a fault or key of OUTCOMES: name}."""
    return {fault.id: fault.name for fault in knowledge.faults} | OUTCOMES


def _or_raise(written: list[str] | WritingError) -> list[str]:
    if not isinstance(written, WritingError):
        return written
    if written.cut is None:
        raise written
    return [written.cut]


class TemplateFeedbackGenerator(LLMFeedbackGenerator):
    """Answers that are drawn from the knowledge base without a model."""

    generated_by = TEMPLATE

    def __init__(self, knowledge: KnowledgeBase | None = None, seed: int = 123):
        super().__init__(knowledge, max_attempts=0, seed=seed)

    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        return [[] for _ in entries]


class FineTunedGolfFeedbackGenerator(LLMFeedbackGenerator):
    """Answers of a fine-tuned GPT-2.

    Steered, the model chooses its way through the right answers to the request (gpt2/steering.py),
    so that whatever it chooses passes; of a fault's causes it explains the one that the golfer's
    words point to (golf/causes.py). With `steered=False` it writes freely: once greedily, then
    `config.n_candidates` sampled in one batch. Every second candidate continues the request without
    its All Scores: to find the best and the lowest of them is the hardest part of an answer, and
    one that names neither is right, too. Of several that pass, the one with the highest mean
    log-probability of its tokens under the model is given.

    What a golfer's words mean is weighed by the reader and, with `words_weight`, by the model
    (evaluation.words.together); `load` takes the weight that notebook 04 found for these weights.
    """

    words_weight = 0.0

    def __init__(
        self,
        model: GPTModel,
        tokenizer: tiktoken.Encoding,
        config: SampleConfig,
        knowledge: KnowledgeBase | None = None,
        steered: bool = True,
    ):
        """Take a model and its own tokenizer.

        Raises:
            ArtifactMismatchError: they have not the same number of tokens.
        """
        if model.config.n_vocab != tokenizer.n_vocab:
            raise ArtifactMismatchError(
                f"the model has {model.config.n_vocab:,} tokens, the tokenizer "
                f"{tokenizer.n_vocab:,}; load both as they came out of one run of notebook 02."
            )
        super().__init__(knowledge, config.max_attempts, config.seed)
        self.generated_by = f"gpt2-{config.model_size}-golf-feedback"
        self.config, self._output_root = config, config.output_root
        self._model, self._tokenizer = model.eval(), tokenizer
        self.is_steered = steered
        self._steerer = Steerer(self._model, tokenizer) if steered else None
        self._model_reader = ModelReader(
            self._steerer or Steerer(self._model, tokenizer), tokenizer, self._names
        )
        # The model's weights are only read; the lock keeps several threads from each holding a
        # cache of keys and values.
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls, model_size: str = "auto", steered: bool = True, **parameters
    ) -> "FineTunedGolfFeedbackGenerator":
        """Load the model that notebook 03 made, onto the GPU if there is one.

        `parameters` are those of SampleConfig.

        Raises:
            ConfigError: the size or a parameter is unknown.
            MissingArtifactError, ArtifactMismatchError: see checkpoints.load_model.
        """
        devices = detect_devices()
        config = SampleConfig.for_size(
            resolve_model_size(model_size, devices.n_gpus > 0), **parameters
        )
        paths = Paths(output_root(config.output_root))
        checkpoint = find_folder(
            paths.checkpoint(config.model_size), paths.root, "02", input_roots()
        )
        weights = paths.weights(config.model_size).name
        models = find_folder(paths.models, paths.root, "03", input_roots(), weights)
        model, sidecar = load_model(models / weights, checkpoint)
        knowledge = load_knowledge(knowledge_folder(), config.extra_knowledge)
        model, tokenizer = model.to(devices.device), load_tokenizer(checkpoint)
        coach = cls(model, tokenizer, config, knowledge, steered)
        evaluated = paths.evaluation(config.model_size) / "metrics.json"
        if evaluated.is_file():
            metrics = read_json(evaluated, remedy="run notebook 04 again")
            is_same = metrics.get("weights_sha256") == sidecar["weights_sha256"]
            # A model that learnt the answers alone knows nothing of what people say.
            has_read = (sidecar["training"] or {}).get("loss_on") == "all"
            if is_same and has_read:
                weight = metrics.get("words_weight")
                if weight not in WEIGHTS:
                    raise ArtifactMismatchError(
                        f"{evaluated} has the words_weight {weight!r:.80}, expected one of "
                        f"{', '.join(map(str, WEIGHTS))}; run notebook 04 again."
                    )
                coach.words_weight = weight
        return coach

    def _probabilities(self, area: str, text: str) -> Probabilities:
        found = super()._probabilities(area, text)
        if not self.words_weight:
            return found
        try:
            with self._lock:
                by_model = self._model_reader.probabilities(area, text, found.own)
        except (ValueError, RuntimeError):
            # Words that cannot be printed or fill a short context, or no memory left: the reader is
            # heard alone.
            return found
        return together(found, by_model, self.words_weight)

    def _prompt(self, entry: dict, with_all_scores: bool = True) -> torch.Tensor:
        if not with_all_scores:
            entry = entry | {"input": re.sub("\nAll Scores: .*", "", entry["input"])}
        # What somebody said may hold "<|endoftext|>", which is then text like any other.
        return torch.tensor(self._tokenizer.encode(format_input(entry), disallowed_special=()))

    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        if self._steerer:
            return self._steer(entries)
        config = self.config
        count = 1 if attempt == 1 else config.n_candidates
        sampling = (
            {}
            if attempt == 1
            else {name: getattr(config, name) for name in ("temperature", "top_k", "top_p")}
        )
        numbers = range((attempt - 1) * count, attempt * count)
        prompts = [
            self._prompt(entry, with_all_scores=number % 2 == 0)
            for entry in entries
            for number in range(count)
        ]
        texts = in_batches(
            lambda prompts, seeds: self._batch(prompts, seeds, sampling),
            prompts,
            config.batch_size,
            # A row's own seed draws it, so its text does not depend on what else is in the batch.
            [seed + number for seed in seeds for number in numbers],
        )
        answers = (texts[start : start + count] for start in range(0, len(texts), count))
        return [
            next((text for text in group if isinstance(text, WritingError)), group)
            for group in answers
        ]

    def _steer(self, entries: list[dict]) -> list[list[str] | WritingError]:
        """For each entry the right answer that the model chooses."""
        answers = in_batches(
            lambda prompts, places: self._steer_batch(prompts, [entries[p] for p in places]),
            [self._prompt(entry) for entry in entries],
            self.config.batch_size,
            list(range(len(entries))),
        )
        return [answer if isinstance(answer, WritingError) else [answer] for answer in answers]

    def _steer_batch(
        self, prompts: list[torch.Tensor], entries: list[dict]
    ) -> list[str | WritingError]:
        try:
            grammars = [self._grammar(entry) for entry in entries]
            with self._lock:
                found = self._steerer.write([prompt.tolist() for prompt in prompts], grammars)
        except (GrammarError, ValueError, RuntimeError) as error:
            if len(prompts) == 1:
                return [WritingError(f"the model wrote no answer: {error}")]
            # One by one, so that one prompt does not cost the others their answer.
            alone = zip(prompts, entries, strict=True)
            return [self._steer_batch([prompt], [entry])[0] for prompt, entry in alone]
        texts = [self._tokenizer.decode(each.tokens) for each in found]
        return [
            text if each.is_whole else WritingError(self._too_long(), text)
            for text, each in zip(texts, found, strict=True)
        ]

    def begin(
        self,
        arguments: dict,
        meaning: str = "",
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> Writing:
        """Return an answer to a dict of generate_feedback's arguments, on its way.

        `step` writes on it beside others, and `finish` gives what generate_feedback returns. Only a
        steered coach can; temperature, top_p and seed are those of Steerer.begin. `meaning` is the
        name of a fault or an outcome, as our own prompt has it, where the words were read before.
        """
        asked = self._read(arguments, meaning)
        writing = Writing(asked)
        if asked.request.is_scored:
            try:
                writing.row = self._steerer.begin(
                    self._prompt(asked.entry).tolist(),
                    self._grammar(asked.entry),
                    asked.seed if seed is None else seed,
                    temperature,
                    top_p,
                )
            except (GrammarError, ValueError, RuntimeError) as error:
                writing.error = WritingError(f"the model wrote no answer: {error}")
        return writing

    def can_go_on(self, writing: Writing) -> bool:
        """Whether there is more to write."""
        row = writing.row
        return row is not None and writing.error is None and self._steerer.can_go_on(row)

    def step(self, writings: list[Writing]) -> None:
        """Let the model choose once in each answer that can go on."""
        going = [each for each in writings if self.can_go_on(each)]
        try:
            with self._lock:
                self._steerer.step([each.row for each in going])
        except (ValueError, RuntimeError) as error:
            # No memory left, weights that are not numbers.
            for each in going:
                each.error = WritingError(f"the model wrote no answer: {error}")

    def text_of(self, tokens: list[int]) -> str:
        """Return the text of tokens; a character of which they have a part only is left out."""
        return self._tokenizer.decode(tokens, errors="ignore")

    def finish(self, writing: Writing) -> dict:
        """Return verified feedback: what was written, or where it is not whole the template's."""
        row, first = writing.row, writing.error
        if row and not first:
            is_whole, text = row.result.is_whole, self.text_of(row.result.tokens)
            first = [text] if is_whole else WritingError(self._too_long())
        return self._answered([writing.asked], first)[0]

    def _too_long(self) -> str:
        n_ctx = self._model.config.n_ctx
        return (
            f"the model wrote no answer: with its prompt it exceeds the context of {n_ctx} tokens."
        )

    def _grammar(self, entry: dict) -> tuple:
        """What Steerer needs of the right answers to an entry."""
        request = self._verifier.request(entry["input"])
        grammar = self._verifier.book.grammar(request, self.advice_for(request))
        return grammar.next_texts, grammar.start

    def _batch(
        self, prompts: list[torch.Tensor], seeds: list[int], sampling: dict
    ) -> list[str | WritingError]:
        """Texts that continue the prompts, in one batch.

        Where that fails, one by one, so that one prompt does not cost the others their answer.
        """
        try:
            with self._lock:
                new = generate_batch(
                    self._model,
                    prompts,
                    self.config.max_new_tokens,
                    eot_id=self._tokenizer.eot_token,
                    seed=seeds,
                    **sampling,
                )
        except (ValueError, RuntimeError) as error:
            # A prompt that fills the context, no memory left, weights that are not numbers.
            if len(prompts) == 1:
                return [WritingError(f"the model wrote no answer: {error}")]
            return [
                self._batch([prompt], [seed], sampling)[0]
                for prompt, seed in zip(prompts, seeds, strict=True)
            ]
        return [token_ids_to_text(row, self._tokenizer) for row in new]

    def _best(self, entry: dict, answers: list[str]) -> str:
        """The answer of the highest mean log-probability of its tokens, end-of-text included."""
        prompt = self._prompt(entry)

        def mean_loss(text: str) -> float:
            new = torch.tensor([*self._tokenizer.encode(text), self._tokenizer.eot_token])
            ids = torch.cat((prompt, new))[None].to(self._model.wte.weight.device)
            targets = ids[:, 1:].clone()
            targets[:, : len(prompt) - 1] = -100
            with torch.no_grad(), self._lock:
                loss, count = self._model.loss_sum(ids[:, :-1], targets)
            return float(loss / count)

        return min(answers, key=mean_loss)

    def _stream(self, entry: dict) -> Iterator[str]:
        try:
            steps = self._steps(entry)
            while True:
                # Not held between the steps: a reader may pause, or never come back.
                with self._lock:
                    tokens = next(steps, None)
                if tokens is None:
                    return
                yield self._tokenizer.decode(tokens)
        except (GrammarError, ValueError, RuntimeError) as error:
            raise WritingError(f"the model wrote no answer: {error}") from error

    def _steps(self, entry: dict) -> Iterator[list[int]]:
        """All tokens of the first attempt so far, whenever there are more."""
        prompt, tokens = self._prompt(entry), []
        if self._steerer:
            yield from self._steerer.stream(prompt.tolist(), self._grammar(entry))
            return
        end = self._tokenizer.eot_token
        for step in stream_batch(self._model, [prompt], self.config.max_new_tokens, eot_id=end):
            tokens.append(step[0])
            yield tokens
