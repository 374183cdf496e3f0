"""A process's share of a sweep: of several that work on it each takes what is free, by the locks of the jobs."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence

import keras

from .. import progress
from ..errors import Interrupted, UserError
from ..workdir.locks import Claim, Holder, Watch, claimed, holder
from .clock import Clock, duration
from .directory import SweepDirectory
from .jobs import Job, Jobs

WAIT = 3.0
"""Seconds between two looks at whether what others are at work on is done, or left behind."""
NAMED = 3
"""Jobs of others that a line names."""


class Hand:
    """One process at work on a sweep.

    Args:
        out: the sweep's directory.
        jobs: of the sweep.
        device: on which this process works, in words, for the others to read.
    """

    def __init__(self, out: SweepDirectory, jobs: Jobs, device: str):
        self._out, self._jobs, self._device = out, jobs, device
        self._watch = Watch()
        self._said = ''
        finished = [job.run for job in jobs.training if jobs.is_done(job)]
        if finished:
            progress.say(f'{len(finished)} of {len(jobs.training)} runs are finished')
        self._clock = Clock(finished, out)
        self._todo = [job for job in [*jobs.training, *jobs.measuring] if not jobs.is_done(job)]

    def work(self) -> int:
        """Does what is free, job by job, until all is done, by whomever; returns how many jobs failed."""
        while left := self._left():
            if not self._do_one(left):
                self._say_whom_it_waits_for(left)
                time.sleep(WAIT)
        return sum(not self._jobs.is_done(job) for job in self._todo)

    def _left(self) -> list[Job]:
        self._jobs.look()
        return [job for job in self._todo if not self._jobs.is_done(job) and job.name not in self._jobs.failed]

    def _do_one(self, left: Sequence[Job]) -> bool:
        """Does the first job that is free; returns whether there was one."""
        for job in self._in_order(left):
            with claimed(self._jobs.workdir(job).lock_path, self._watch, device=self._device) as claim:
                if claim is not None:
                    self._jobs.look()  # another process may have done it since
                    if not self._is_settled(job, claim):
                        self._do(job, claim)
                    return True
        return False

    def _is_settled(self, job: Job, claim: Claim) -> bool:
        of_evaluation = job.evaluation is not None  # what is recorded of these is complete, whatever was left behind
        return job.name in self._jobs.failed or (
            (of_evaluation or not claim.left_behind) and self._jobs.is_done(job, mine=True))

    def _in_order(self, left: Sequence[Job]) -> Iterator[Job]:
        """The jobs that can be done now: evaluations first, and last those that will never be possible."""
        measuring = [job for job in left if job.evaluation is not None]
        yield from (job for job in measuring if all(map(self._jobs.is_done, self._jobs.needs(job))))
        yield from (job for job in left if job.evaluation is None)
        yield from (job for job in measuring if any(self._is_hopeless(need, left) for need in self._jobs.needs(job)))

    def _is_hopeless(self, run: Job, left: Sequence[Job]) -> bool:
        """Whether a run is neither done nor going to be."""
        to_come = any(job.name == run.name for job in left)
        return not (to_come or self._jobs.is_done(run) or self._holder(run) is not None)

    def _holder(self, job: Job) -> Holder | None:
        """Who is at work on a job, or may be."""
        found = holder(self._jobs.workdir(job).lock_path)
        return None if found is None or found.at_work is False else found

    def _do(self, job: Job, claim: Claim) -> None:
        """Does a job, and prints its line."""
        if claim.former:
            progress.say(f'{job.name} is taken over from process {claim.former.get("pid")} on '
                         f'{claim.former.get("host")}, which has ended')
        start = time.perf_counter()
        with progress.status(f'{self._count(job)}  {job.name}'):
            try:
                result, error = self._jobs.do(job), None
            except Interrupted:
                raise
            except UserError as e:
                result, error = f'failed: {e}', str(e)
        # Keras and TensorFlow keep what was built, and its compiled loops, until they are told otherwise.
        keras.backend.clear_session()
        gc.collect()
        seconds = time.perf_counter() - start
        if error is not None:
            self._out.add_failure(job.name, error, progress.say)
        elif job.evaluation is None:
            self._clock.took(job.run, seconds)
        count = self._count(job)
        remaining = self._remaining(self._left())
        progress.say(f'{count}  {job.name}  {result}  {duration(seconds)}'
                     + (f'; about {duration(remaining)} to go' if remaining else ''))

    def _count(self, job: Job) -> str:
        """Which of the jobs that there were at the beginning this is, with those that others have done."""
        done = 1 + len(self._todo) - len({job.name, *(other.name for other in self._left())})
        return f'{done:{len(str(len(self._todo)))}} of {len(self._todo)}'

    def _remaining(self, left: Sequence[Job]) -> float:
        """Seconds that the runs will take which are left, all who are at work now going on."""
        others = sum(self._holder(job) is not None for job in left)
        return self._clock.remaining([job.run for job in left if job.evaluation is None]) / (1 + others)

    def _say_whom_it_waits_for(self, left: Sequence[Job]) -> None:
        """Says, when it has changed, what others are at work on."""
        found = [(job, who) for job in left if (who := self._holder(job)) is not None]
        told = [f'{job.name} ({self._in_words(job, who)})' for job, who in found[:NAMED]]
        more = [f'{len(found) - NAMED} more'] if len(found) > NAMED else []
        text = f"waiting for {', '.join([*told, *more])}"
        if found and text != self._said:
            self._said = text
            progress.say(text)

    def _in_words(self, job: Job, who: Holder) -> str:
        return who.who if who.at_work else f'{who.who}; if that has ended, delete {self._jobs.workdir(job).lock_path}'
