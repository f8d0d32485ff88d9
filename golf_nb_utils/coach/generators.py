"""Feedback for the app: three generators behind its one interface, each of which gives out nothing that was not verified.

A generator writes an answer; Verifier holds it against the request and the knowledge base. An answer that fails is never given
out: more are written, and after `max_attempts` the template (examples.answer_for) answers. `verification` in the result says
what was done, and which entry of the knowledge base each sentence is.

    generator = FineTunedGolfFeedbackGenerator.load()
    feedback = generator.generate_feedback("balance", "Falling onto the heels", 0.45, 0.80, 0.35, "high")
"""

import hashlib
import os
import re
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator

import requests
import tiktoken
import torch

from golf_nb_utils.files import Paths, find_folder
from golf_nb_utils.golf.answer import trace
from golf_nb_utils.golf.app_request import AppRequest, read_request
from golf_nb_utils.golf.areas import AREAS
from golf_nb_utils.golf.checks import Verdict, Verifier
from golf_nb_utils.golf.general_advice import general_advice, holds_only
from golf_nb_utils.golf.knowledge import KnowledgeBase, load_knowledge
from golf_nb_utils.golf.records import RecordError, answer_for, make_template
from golf_nb_utils.gpt2.checkpoints import load_model
from golf_nb_utils.gpt2.model import GPTModel
from golf_nb_utils.gpt2.sampling import generate_batch, in_batches, stream_batch
from golf_nb_utils.gpt2.tokenizer import load_tokenizer, token_ids_to_text
from golf_nb_utils.host import detect_devices, input_roots, knowledge_folder, output_root
from golf_nb_utils.prompt import SECTIONS, format_input, parse_feedback
from golf_nb_utils.settings import SampleConfig, resolve_model_size

TEMPLATE = "template"


class WritingError(RuntimeError):
    """A generator could not write an answer; the message says why."""


class LLMFeedbackGenerator(ABC):
    """The app's interface. A subclass writes answers; reading the request, verifying and the template are here.

    Threads may share a generator. The same request and seed give the same answer, whatever was asked before.
    """

    generated_by = ""

    def __init__(
        self, knowledge: KnowledgeBase | None = None, max_attempts: int = 2, seed: int = 123
    ):
        """Take `knowledge` (by default the project's own), how often answers are written before the template, and the seed."""
        self.knowledge = knowledge or load_knowledge(knowledge_folder())
        self.max_attempts = max_attempts
        self.seed = seed
        self._verifier = Verifier(self.knowledge)
        self._template = make_template(self.knowledge, self._verifier)
        self._fault_names = {
            area: [fault.name for fault in self.knowledge.faults if fault.area == area]
            for area in AREAS
        }
        index, area_of = (
            self._verifier.index,
            {topic.id: topic.area for topic in self.knowledge.topics},
        )
        self._names = {
            area: [name for name, entry in index.items() if area_of[entry.topic] == area]
            for area in AREAS
        }
        everything = {
            "area": "balance",
            "current_score": 0,
            "target_score": 0,
            "all_scores": None,
            "handedness": "right",
        }
        rows = trace({"meta": everything | {"items": list(index)}}, self.knowledge)
        self._places = {name: (place, sources) for _, name, place, sources in rows}

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
        """Return verified feedback; no value of any argument makes it raise (see app_request.py for what each one means).

        The keys are what_should_happen, what_is_happening, what_to_do (the parts without their headings), suggestion (the whole
        text), drill (the whole drill as the knowledge base has it), key_points (the steps and the swing thought), generated_by
        (the model, or "template"), and `verification`: passed, checks, attempts, refused (for each attempt that failed its number
        of candidates, how many failed which check, and the reasons of the best of them), remarks (what to change in the
        request), seed, input (what the model read) and sentences (text, id, file and line, sources). All of it is plain JSON.
        """
        return self.generate_many(
            [
                {
                    "area": area, "issue": issue, "current_score": current_score, "target_score": target_score, "gap": gap,
                    "impact_level": impact_level, "swing_type": swing_type, "golfer_context": golfer_context,
                    "all_quality_scores": all_quality_scores, "all_weaknesses": all_weaknesses, "all_strengths": all_strengths,
                }
            ]
        )[0]  # fmt: skip

    def generate_many(self, requests: list[dict]) -> list[dict]:
        """Return what generate_feedback returns for each dict of its arguments, in their order; any of them may be missing."""
        return self._answered([self._read(arguments) for arguments in requests])

    def stream_feedback(self, **arguments) -> Iterator[str | dict]:
        """Yield the text of the first answer as it grows, and last of all what generate_feedback returns.

        The texts are not verified: they may be shown while they are written, as a draft that is marked as such, and must then give
        way to the dict, whose answer may be another one. They are not to be stored, read aloud or sent on.
        """
        request = self._read(arguments)
        first: list[str] | WritingError | None = None
        if request.entry and self.max_attempts:
            first = [""]
            try:
                for text in self._stream(request.entry):
                    first = [text]
                    yield text
            except WritingError as error:
                first = error
        yield self._answered([request], first)[0]

    def unverified(self, entries: list[dict]) -> list[str]:
        """Return what the model writes first for each entry (instruction and input), as it stands: for an evaluation, not for a golfer.

        Raises:
            WritingError: one of them could not be written.
        """
        answers = []
        for written in self._write(
            entries, [self._seed_of(entry["input"]) for entry in entries], 1
        ):
            if isinstance(written, WritingError):
                raise written
            answers.append(written[0])
        return answers

    @abstractmethod
    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        """For each entry (instruction and input) the answers of this attempt, or why there is none."""

    def _best(self, entry: dict, answers: list[str]) -> str:
        """Which of several verified answers is given."""
        return answers[0]

    def _stream(self, entry: dict) -> Iterator[str]:
        """The answer of the first attempt as it grows. Raises WritingError."""
        (written,) = self._write([entry], [self._seed_of(entry["input"])], 1)
        if isinstance(written, WritingError):
            raise written
        yield from written

    def _read(self, arguments: dict) -> AppRequest:
        return read_request(arguments, self._fault_names, self._verifier)

    def _answered(
        self, read: list[AppRequest], first: list[str] | WritingError | None = None
    ) -> list[dict]:
        """Verified feedback for each request; `first` is the first attempt at the only one, where that is written already."""
        results: dict[int, dict] = {}
        refused: list[list[dict]] = [[] for _ in read]
        seeds = [self._seed_of(request.entry["input"]) if request.entry else 0 for request in read]
        waiting = [place for place, request in enumerate(read) if request.entry]
        for attempt in range(1, self.max_attempts + 1):
            if not waiting:
                break
            written = [first] if first is not None and attempt == 1 else self._write(
                [read[place].entry for place in waiting], [seeds[place] for place in waiting], attempt
            )  # fmt: skip
            asked, waiting = waiting, []
            for place, answers in zip(asked, written, strict=True):
                if isinstance(answers, WritingError) or not answers:
                    reason = str(answers or "no answer was written.")
                    refused[place].append(
                        {"attempt": attempt, "candidates": 0, "failed": {}, "reasons": [reason]}
                    )
                elif found := self._passing(read[place], answers, attempt, refused[place]):
                    results[place] = self._result(
                        read[place], *found, self.generated_by, refused[place], seeds[place]
                    )
                else:
                    waiting.append(place)
        return [
            results[place] if place in results else self._from_template(request, refused[place], seeds[place])
            for place, request in enumerate(read)
        ]  # fmt: skip

    def _passing(
        self, request: AppRequest, answers: list[str], attempt: int, refused: list[dict]
    ) -> tuple[str, Verdict] | None:
        """The best answer that passes, and its verdict; without one what was wrong goes to `refused`."""
        # The same text twice is one candidate.
        texts = dict.fromkeys(text.strip() for text in answers)
        verdicts = {text: self._verifier.verify(text, request.entry["input"]) for text in texts}
        passed = [text for text, verdict in verdicts.items() if verdict.passed]
        if passed:
            best = passed[0] if len(passed) == 1 else self._best(request.entry, passed)
            return best, verdicts[best]
        failed = Counter(
            name
            for verdict in verdicts.values()
            for name, holds in verdict.checks.items()
            if not holds
        )
        nearest = min(verdicts.values(), key=lambda verdict: len(verdict.reasons))
        refused.append(
            {
                "attempt": attempt,
                "candidates": len(texts),
                "failed": dict(failed),
                "reasons": list(nearest.reasons),
            }
        )
        return None

    def _from_template(self, request: AppRequest, refused: list[dict], seed: int) -> dict:
        if request.entry is None:
            return self._general(request, refused)
        try:
            text = answer_for(self._template, request.entry["input"], seed)["output"]
            verdict = self._verifier.verify(text, request.entry["input"])
            if verdict.passed:
                return self._result(request, text, verdict, TEMPLATE, refused, seed)
            reasons = list(verdict.reasons)
        except RecordError as error:
            # A knowledge base of one's own may have nothing for this golfer.
            reasons = [str(error)]
        return self._general(
            request,
            [
                *refused,
                {"attempt": len(refused) + 1, "candidates": 0, "failed": {}, "reasons": reasons},
            ],
        )

    def _seed_of(self, input_text: str) -> int:
        # Six bytes stay exact in the JSON of any language.
        return int.from_bytes(
            hashlib.blake2b(f"{self.seed}/{input_text}".encode(), digest_size=6).digest(), "big"
        )

    def _result(
        self,
        request: AppRequest,
        text: str,
        verdict: Verdict,
        generated_by: str,
        refused: list[dict],
        seed: int,
    ) -> dict:
        sentences = [(span.text, span.origin) for span in verdict.sentences]
        facts = {
            "checks": verdict.checks,
            "refused": refused,
            "seed": seed,
            "input": request.entry["input"],
        }
        return self._packed(request, text, sentences, verdict.drill, generated_by, facts)

    def _general(self, request: AppRequest, refused: list[dict]) -> dict:
        """Advice without a score, where the request has none."""
        seed = self._seed_of(
            f"{request.area}/{request.fault}/{request.club}/{request.level}/{request.audience}"
        )
        hand = request.handedness or "right"
        case = request.club, request.level, request.audience or "adult"
        text, sentences, drill = general_advice(
            self._verifier.index,
            self._names[request.area],
            request.area,
            request.area_is_known,
            request.fault,
            case,
            hand,
            seed,
        )
        checks = {
            "grounded": holds_only(text, [sentence for sentence, _ in sentences]),
            "no_scores": "%" not in text,
        }
        return self._packed(
            request,
            text,
            sentences,
            drill,
            TEMPLATE,
            {"checks": checks, "refused": refused, "seed": seed, "input": None},
        )

    def _packed(
        self,
        request: AppRequest,
        text: str,
        sentences: list[tuple[str, str]],
        drill: str,
        generated_by: str,
        facts: dict,
    ) -> dict:
        parts = parse_feedback(text)
        steps = re.findall(r"^[0-9]+[.] (.*)$", parts["what_to_do"], re.MULTILINE)
        drill_text = next(sentence for sentence, name in sentences if name == drill)
        thought = re.search(r"^Swing thought: (.*)$", parts["what_to_do"], re.MULTILINE)
        refused = facts["refused"]
        return {
            **parts,
            "suggestion": text,
            "drill": drill_text,
            "key_points": [step for step in steps if not step.startswith(drill_text)]
            + [thought[1]],
            "generated_by": generated_by,
            "verification": {
                "passed": all(facts["checks"].values()),
                "attempts": len(refused) + (generated_by != TEMPLATE),
                "remarks": list(request.remarks),
                **facts,
                "sentences": [self._traced(sentence, name) for sentence, name in sentences],
            },
        }

    def _traced(self, sentence: str, name: str) -> dict[str, str]:
        phrases = "phrases.py" if name.startswith("say.") else "general_advice.py"
        place, sources = self._places.get(name, (phrases, "the request"))
        return {"text": sentence, "id": name, "place": place, "sources": sources}


class FineTunedGolfFeedbackGenerator(LLMFeedbackGenerator):
    """Answers of a fine-tuned GPT-2: the greedy one, then `config.n_candidates` sampled in one batch.

    Every second candidate continues the request without its All Scores: to find the best and the lowest of them is the hardest
    part of an answer, and one that names neither is right, too. Of several that pass, the one with the highest mean
    log-probability of its tokens under the model is given.
    """

    def __init__(
        self,
        model: GPTModel,
        tokenizer: tiktoken.Encoding,
        config: SampleConfig,
        knowledge: KnowledgeBase | None = None,
    ):
        super().__init__(knowledge, config.max_attempts, config.seed)
        self.generated_by = f"gpt2-{config.model_size}-golf-feedback"
        self.config = config
        self._model, self._tokenizer = model.eval(), tokenizer
        # The model's weights are only read; the lock keeps several threads from each holding a cache of keys and values.
        self._lock = threading.Lock()

    @classmethod
    def load(cls, model_size: str = "auto", **parameters) -> "FineTunedGolfFeedbackGenerator":
        """Load the model that notebook 03 made, onto the GPU if there is one; `parameters` are those of SampleConfig.

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
        model, _ = load_model(models / weights, checkpoint)
        knowledge = load_knowledge(knowledge_folder(), config.extra_knowledge)
        return cls(model.to(devices.device), load_tokenizer(checkpoint), config, knowledge)

    def _prompt(self, entry: dict, with_all_scores: bool = True) -> torch.Tensor:
        if not with_all_scores:
            entry = entry | {"input": re.sub("\nAll Scores: .*", "", entry["input"])}
        return torch.tensor(self._tokenizer.encode(format_input(entry)))

    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
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

    def _batch(
        self, prompts: list[torch.Tensor], seeds: list[int], sampling: dict
    ) -> list[str | WritingError]:
        """Texts that continue the prompts; where that fails, one by one, so that one prompt does not cost the others their answer."""
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
        """The answer of the highest mean log-probability of its tokens, its end-of-text among them."""
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
        tokens: list[int] = []
        steps = stream_batch(
            self._model,
            [self._prompt(entry)],
            self.config.max_new_tokens,
            eot_id=self._tokenizer.eot_token,
        )
        try:
            while True:
                # Not held between the steps: a reader may pause, or never come back.
                with self._lock:
                    step = next(steps, None)
                if step is None:
                    return
                tokens.append(step[0])
                yield self._tokenizer.decode(tokens)
        except (ValueError, RuntimeError) as error:
            raise WritingError(f"the model wrote no answer: {error}") from error


class OllamaFeedbackGenerator(LLMFeedbackGenerator):
    """Answers of a model that an Ollama server runs, over its chat protocol (POST /api/chat, github.com/ollama/ollama, docs/api.md)."""

    CONNECT_SECONDS = 3.0

    def __init__(
        self,
        model: str,
        host: str = "",
        knowledge: KnowledgeBase | None = None,
        max_attempts: int = 2,
        read_seconds: float = 60.0,
        max_new_tokens: int = 600,
        seed: int = 123,
    ):
        """Ask `model` at `host` (by default OLLAMA_HOST, or this machine's own), and wait `read_seconds` for an answer."""
        super().__init__(knowledge, max_attempts, seed)
        self.generated_by = f"ollama/{model}"
        self.model, self.read_seconds, self.max_new_tokens = model, read_seconds, max_new_tokens
        self.host = ollama_url(host or os.environ.get("OLLAMA_HOST", ""))

    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        answers: list[list[str] | WritingError] = []
        for entry, seed in zip(entries, seeds, strict=True):
            try:
                answers.append([self._ask(entry, 0.0 if attempt == 1 else 0.7, seed + attempt)])
            except WritingError as error:
                answers.append(error)
        return answers

    def _ask(self, entry: dict, temperature: float, seed: int) -> str:
        headings = "\n".join(SECTIONS.values())
        asked = f"{entry['instruction']} Answer in three parts, under exactly these headings, each on a line of its own:\n{headings}"
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": format_input(entry | {"instruction": asked})}],
            "stream": False,
            # Ollama's seed is a 32-bit number.
            "options": {
                "temperature": temperature,
                "seed": seed % 2**31,
                "num_predict": self.max_new_tokens,
            },
        }
        url = f"{self.host}/api/chat"
        try:
            response = requests.post(
                url, json=body, timeout=(self.CONNECT_SECONDS, self.read_seconds)
            )
            response.raise_for_status()
            content = response.json()["message"]["content"]
        except requests.HTTPError as error:
            raise WritingError(
                f"Ollama refused: {error}; is the model pulled (`ollama pull {self.model}`)?"
            ) from error
        except requests.Timeout as error:
            raise WritingError(
                f"{url} did not answer within {self.CONNECT_SECONDS:g} s to connect and {self.read_seconds:g} s to read."
            ) from error
        except requests.ConnectionError as error:
            raise WritingError(
                f"{url} cannot be reached; start `ollama serve`, or set host or OLLAMA_HOST."
            ) from error
        except (
            requests.RequestException,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ) as error:
            # What is no JSON, or other JSON, down to one of a hundred thousand brackets.
            raise WritingError(
                f"{url} did not answer as Ollama's chat protocol says ({error!r:.100})."
            ) from error
        if not isinstance(content, str):
            raise WritingError(
                f"{url} did not answer as Ollama's chat protocol says (the content is {content!r:.60})."
            )
        return content


class TemplateFeedbackGenerator(LLMFeedbackGenerator):
    """Answers that are drawn from the knowledge base without a model."""

    generated_by = TEMPLATE

    def __init__(self, knowledge: KnowledgeBase | None = None, seed: int = 123):
        super().__init__(knowledge, max_attempts=0, seed=seed)

    def _write(
        self, entries: list[dict], seeds: list[int], attempt: int
    ) -> list[list[str] | WritingError]:
        return [[] for _ in entries]


def ollama_url(host: str) -> str:
    """Return the address of a server from what OLLAMA_HOST may hold: a URL, host:port, a host or nothing."""
    host = host.strip().rstrip("/") or "127.0.0.1"
    scheme, _, rest = host.rpartition("://")
    address, _, path = rest.partition("/")
    # A server is told to listen on 0.0.0.0; a client cannot connect to it everywhere.
    address = address.replace("0.0.0.0", "127.0.0.1")
    if not re.search(r":[0-9]+$", address) and not scheme:
        address += ":11434"
    return f"{scheme or 'http'}://{address}" + (f"/{path}" if path else "")
