"""What the server counts, in the text form of Prometheus (prometheus.io, exposition formats)."""

from collections import Counter

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the classes of latency, in seconds."""


class Metrics:
    """Counters since the server began; used in one thread, so nothing is locked."""

    def __init__(self):
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: Counter[float] = Counter()
        self.sum_of_seconds = 0.0
        self.tokens: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has ended."""
        self.requests[route, status] += 1
        self.seconds[next((each for each in BUCKETS if seconds <= each), float("inf"))] += 1
        self.sum_of_seconds += seconds

    def answer(self, by: str, n_prompt: int, n_tokens: int) -> None:
        """Count an answer: by the model, the template, or a question for what is missing."""
        self.answers[by] += 1
        self.tokens["prompt"] += n_prompt
        self.tokens["answer"] += n_tokens

    def text(self, n_waiting: int, n_running: int) -> str:
        """Return all of it, with the length of the queue and the answers that are being written."""
        lines = [
            "# HELP golf_requests_total Requests that have ended, by route and status.",
            "# TYPE golf_requests_total counter",
        ]
        for (route, status), n in sorted(self.requests.items()):
            lines.append(f'golf_requests_total{{route="{route}",status="{status}"}} {n}')
        lines += self._histogram()
        for name, about, label, values in (
            ("tokens", "Tokens read and written", "kind", self.tokens),
            (
                "answers",
                "Answers, by who wrote them: model, template, question",
                "by",
                self.answers,
            ),
        ):
            lines += [f"# HELP golf_{name}_total {about}.", f"# TYPE golf_{name}_total counter"]
            lines += [
                f'golf_{name}_total{{{label}="{key}"}} {n}' for key, n in sorted(values.items())
            ]
        n_given = self.answers["model"] + self.answers["template"]
        share = self.answers["model"] / n_given if n_given else 1.0
        for name, about, value in (
            ("queue_length", "Requests that wait for a row", n_waiting),
            ("running", "Answers that are being written", n_running),
            ("model_written_share", "Share of the feedback that the model wrote", share),
        ):
            lines += [
                f"# HELP golf_{name} {about}.",
                f"# TYPE golf_{name} gauge",
                f"golf_{name} {value}",
            ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, n = "golf_request_seconds", 0
        lines = [
            f"# HELP {name} Time from a request to the end of its answer.",
            f"# TYPE {name} histogram",
        ]
        for bound in (*BUCKETS, float("inf")):
            n += self.seconds[bound]
            shown = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'{name}_bucket{{le="{shown}"}} {n}')
        return [*lines, f"{name}_sum {self.sum_of_seconds:.6f}", f"{name}_count {n}"]
