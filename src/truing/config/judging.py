"""The guard's section of a recipe: who judges a policy's own answers as it learns, how often, and what follows."""

from typing import Literal, Self

from pydantic import Field, model_validator

from truing.config.sections import Count, Positive, Section


class Judge(Section):
    """Who says which of two answers to a prompt is the better one."""

    kind: Literal["people", "pairs", "scores", "none"] = Field(
        "people",
        description="people: a file that they fill in. pairs: a function of prompts and pairs of answers. "
        "scores: a function of prompts and responses; the higher score wins. none: alarms on KL and length alone.",
    )
    path: str | None = Field(None, description="pairs, scores: module:function or file.py:function.")

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        is_function = self.kind in ("pairs", "scores")
        if not is_function and self.path is not None:
            raise ValueError(f"kind {self.kind} has no path; a function is of kind pairs or scores")
        if is_function and self.path is None:
            raise ValueError(f"kind {self.kind} needs a path: {{kind: {self.kind}, path: rules.py:judge}}")
        return self


class Guard(Section):
    """Judgements of the policy's own answers, against the best step so far, and what they decide. See docs/guard.md."""

    mode: Literal["off", "warn", "stop", "rollback"] = Field(
        "off",
        description="warn: only say it. stop: end with the best step. rollback: go back to it, raise beta and go on.",
    )
    judge: Judge = Field(default_factory=Judge, description="Who judges.")
    labels: Count = Field(400, description="Judgements in the whole stage, spread over its looks.")
    look_every: Count = Field(3, description="Updates between two looks.")
    alarm_kl: Positive = Field(
        5.0, description="Held-out KL, nats per sequence, above which rollback takes a suspicion for a turn."
    )
    beta: Positive = Field(
        0.1, description="What beta is raised to at least where the stage goes back; else it is trebled."
    )
    rollbacks: Count = Field(2, description="How often the stage may go back, at most.")

    @model_validator(mode="after")
    def _ends_on_judgements_alone(self) -> Self:
        if self.mode == "stop" and self.judge.kind == "none":
            raise ValueError("mode stop needs a judge: alarms alone end no stage; set mode to warn or rollback")
        return self
