"""Many answers at once: one thread owns the model, and writes on all of them pass by pass.

A request joins the running batch between two passes, as soon as a row is free, and leaves it with
its last token; nobody waits for the slowest answer of a batch. What has no row yet waits in a queue
that has an end: beyond it a request is refused at once, which a client can act on, instead of being
answered when nobody waits any more.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from golf_nb_utils.coach.generators import FineTunedGolfFeedbackGenerator, Writing


class BusyError(RuntimeError):
    """The queue is full, or the server is about to end."""


@dataclass(frozen=True)
class Written:
    """How far an answer is."""

    text: str
    """All of it so far: the beginning of a right answer."""
    n_tokens: int
    is_last: bool = False
    is_cut: bool = False
    """Whether the most tokens that were asked for are written."""
    feedback: dict | None = None
    """Of the last, unless it is cut: what generate_feedback returns."""
    error: str = ""


@dataclass
class Job:
    """A request for an answer, and where to tell how far it is."""

    arguments: dict
    tell: Callable[[Written], None]
    """Called by the thread that writes."""
    options: dict = field(default_factory=dict)
    """Other parameters of FineTunedGolfFeedbackGenerator.begin."""
    most_tokens: int | None = None
    is_gone: bool = False
    """Set by who asked, when nobody waits for the answer any more."""
    n_prompt: int = 0
    asked_at: float = field(default_factory=time.monotonic)
    begun_at: float = 0.0
    chosen_at: float = 0.0
    """When the model had read the prompt and chosen for the first time."""


class Batcher:
    """The thread that writes."""

    def __init__(self, coach: FineTunedGolfFeedbackGenerator, n_rows: int, n_waiting: int):
        """Write at most `n_rows` answers at once with `coach`, and let `n_waiting` wait."""
        self._coach, self._n_rows = coach, n_rows
        self._waiting: queue.Queue[Job | None] = queue.Queue(n_waiting)
        self._running: list[tuple[Job, Writing]] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """How many requests have no row yet."""
        return self._waiting.qsize()

    @property
    def n_running(self) -> int:
        """How many answers are being written."""
        return len(self._running)

    def put(self, job: Job) -> None:
        """Let a job wait for a row.

        Raises:
            BusyError: the queue is full, or closed.
        """
        try:
            if self._is_closed:
                raise queue.Full
            self._waiting.put_nowait(job)
        except queue.Full:
            raise BusyError("the server is busy; try again in some seconds.") from None

    def close(self) -> None:
        """Take nothing new, and wait until all that was taken is written."""
        self._is_closed = True
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open or self._running:
            is_open = self._let_join(is_open)
            self._running = [pair for pair in self._running if not pair[0].is_gone]
            try:
                self._coach.step([writing for _, writing in self._running])
            except Exception as error:
                # Nothing may end the thread that serves everybody.
                for job, _ in self._running:
                    _fail(job, error)
                self._running = []
            self._running = [pair for pair in self._running if self._goes_on(*pair)]

    def _let_join(self, is_open: bool) -> bool:
        """Give free rows to those who wait; return whether more may come."""
        while is_open and len(self._running) < self._n_rows:
            try:
                job = self._waiting.get(block=not self._running)
            except queue.Empty:
                break
            if job is None:
                return False
            if job.is_gone:
                continue
            job.begun_at = time.monotonic()
            try:
                writing = self._coach.begin(job.arguments, **job.options)
            except Exception as error:
                _fail(job, error)
                continue
            if row := writing.row:
                job.n_prompt = len(row.unread) - len(row.result.tokens)
            self._running.append((job, writing))
        return is_open

    def _goes_on(self, job: Job, writing: Writing) -> bool:
        """Tell how far an answer is; return whether it goes on."""
        job.chosen_at = job.chosen_at or time.monotonic()
        tokens = writing.row.result.tokens if writing.row else []
        most = job.most_tokens
        if most is not None and len(tokens) > most:
            text = self._coach.text_of(tokens[:most])
            job.tell(Written(text, most, is_last=True, is_cut=True))
            return False
        if self._coach.can_go_on(writing):
            job.tell(Written(self._coach.text_of(tokens), len(tokens)))
            return True
        try:
            feedback = self._coach.finish(writing)
            job.tell(Written(feedback["suggestion"], len(tokens), is_last=True, feedback=feedback))
        except Exception as error:
            _fail(job, error)
        return False


def _fail(job: Job, error: Exception) -> None:
    job.tell(Written("", 0, is_last=True, error=f"{type(error).__name__}: {error}"))
