"""The metrics of what has happened since the start: counters and histograms."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import Metric

from foreman.core.lanes import Lane
from foreman.core.spread import Spread
from foreman.engine.engine import Engine
from foreman.engine.figures import Tally
from foreman.web.families import Labels, counter, histogram, one

MODEL: Labels = ("lane", "model")


def counted(engine: Engine) -> Iterator[Metric]:
    yield from _jobs(engine)
    yield from _times(engine)
    yield from _reloads(engine)
    judged = engine.jobs.figures.verdicts.items()
    yield counter("foreman_gate_verdicts", "What the gate newly said of loads.", ("verdict", "cause"), judged)
    store, loop = engine.store.commits, engine.lag.seconds
    yield histogram("foreman_store_commit_seconds", "How long the store took for a commit.", (), [((), store)])
    yield histogram("foreman_event_loop_lag_seconds", "How late the event loop was, each second.", (), [((), loop)])


def _jobs(engine: Engine) -> Iterator[Metric]:
    figures = engine.jobs.figures
    ends = (((*key, state.value), count) for key, tally in figures.jobs.items() for state, count in tally.ends.items())
    yield counter("foreman_jobs", "Jobs that have ended, by how.", (*MODEL, "outcome"), ends)
    causes = ("lane", "cause")
    yield counter("foreman_job_failures", "Jobs that failed, by why.", causes, figures.failures.items())
    yield counter("foreman_job_retries", "Jobs that went back to the queue, by why.", causes, figures.retries.items())
    prompts = [(key, tally.prompt_tokens) for key, tally in figures.jobs.items()]
    yield counter("foreman_prompt_tokens", "Tokens of prompts, as the target told them.", MODEL, prompts)
    generated = [(key, tally.output_tokens) for key, tally in figures.jobs.items()]
    yield counter("foreman_generated_tokens", "Tokens of answers, as the target told them.", MODEL, generated)


def _times(engine: Engine) -> Iterator[Metric]:
    def spread(name: str, text: str, of: Callable[[Tally], Spread]) -> Metric:
        found: Iterable[tuple[tuple[Lane, str], Tally]] = engine.jobs.figures.jobs.items()
        return histogram(name, text, MODEL, [(key, of(tally)) for key, tally in found])

    yield spread("foreman_job_wait_seconds", "From the arrival of a job to its beginning.", lambda tally: tally.waits)
    yield spread("foreman_job_load_seconds", "The load of a model for a job, where it needed one.", lambda t: t.loads)
    yield spread(
        "foreman_job_first_token_seconds",
        "From a job's request to the first byte of its answer.",
        lambda tally: tally.first_tokens,
    )
    yield spread("foreman_job_duration_seconds", "From the arrival of a job to its end.", lambda t: t.durations)


def _reloads(engine: Engine) -> Iterator[Metric]:
    reloads, paid = engine.reloads, dict[Labels, int]()
    for (model, reason), times in reloads.paid.items():
        labels = engine.jobs.figures.name(Lane.LOCAL, model), reason.value
        paid[labels] = paid.get(labels, 0) + times
    yield counter("foreman_reloads_paid", "Loads of models that were made, by why.", ("model", "reason"), paid.items())
    yield counter(
        "foreman_reloads_paid_seconds", "How long the loads took that were made.", (), [((), reloads.seconds)]
    )
    yield counter("foreman_reloads_failed", "Loads of models that failed or were given up.", (), [((), reloads.failed)])
    avoided = reloads.avoided
    count, seconds = (None, None) if avoided is None else (avoided.count, avoided.seconds)
    text = "Loads that the order of work saved against the order of arrival."
    yield one("foreman_reloads_avoided", text, count)
    yield one(
        "foreman_reloads_avoided_seconds",
        "How long the avoided loads would have taken, by the median of each model.",
        seconds,
    )
