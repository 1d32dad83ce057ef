"""The guard's section of a recipe: who judges a policy's own answers as it learns, how often, and what follows."""

from typing import Literal, Self

from pydantic import Field, model_validator

from truing.config.sections import Count, NonNegative, Positive, Section


class LlmJudge(Section):
    """A language model on an OpenAI-compatible server, which scores responses or says which of two is better."""

    base_url: str = Field(
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$",
        description="Address up to what /chat/completions is added to, such as http://localhost:8000/v1.",
    )
    model: str = Field(min_length=1, description="What the server calls it.")
    rubric: str | None = Field(
        None, description="A text file: what to judge by, or a template with {response}, or with {first} and {second}."
    )
    key_variable: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Environment variable that has the key; the key itself is written nowhere.",
    )
    concurrency: Count = Field(8, description="Requests at once.")
    seconds: Positive = Field(60.0, description="Longest time for one answer.")
    attempts: Count = Field(6, description="At each question, before it counts as one without an answer.")
    max_tokens: Count = Field(512, description="Longest answer.")
    temperature: NonNegative = Field(0.0, description="Of its sampling.")


class Page(Section):
    """The page on which people judge, which the run serves to this machine while it waits. See docs/labelling.md."""

    people: Count = Field(1, description="How many there are: a link for each, the first of which leads.")
    each: Count = Field(1, description="People who judge each pair; their votes count as a share.")
    wait_minutes: NonNegative = Field(
        60.0, description="Without a vote, after which the run ends, to go on with the same command; 0: it never waits."
    )
    guidelines: str | None = Field(None, description="A file of Markdown, shown beside the work.")
    controls: str | None = Field(
        None, description="Rows of chosen and rejected: one is shown after each ten pairs, and decides nothing."
    )
    port: int = Field(8420, ge=0, le=65535, description="Where it listens; where that is taken, another that is free.")
    url: str | None = Field(None, description="What browsers open, where that is not this machine.")

    @model_validator(mode="after")
    def _people_enough(self) -> Self:
        if self.each > self.people:
            raise ValueError(f"each ({self.each}) is more than people ({self.people})")
        return self


class Judge(Section):
    """Who says which of two answers to a prompt is the better one."""

    kind: Literal["people", "pairs", "scores", "llm", "none"] = Field(
        "people",
        description="people: on a page, or in a file that they fill in. "
        "pairs: a function of prompts and pairs of answers. "
        "scores: a function of prompts and responses; the higher score wins. "
        "llm: a language model, asked in both orders. none: alarms on KL and length alone.",
    )
    path: str | None = Field(
        None, description="pairs, scores: module:function or file.py:function. llm: its name in llm_judges."
    )

    page: Page | None = Field(
        None, description="people: the run serves a page, {} with all defaults; without it, they fill in a file."
    )

    @model_validator(mode="after")
    def _page_for_people(self) -> Self:
        if self.page is not None and self.kind != "people":
            raise ValueError(f"kind {self.kind} has no page: that is for people")
        return self

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        has_path = self.kind in ("pairs", "scores", "llm")
        if not has_path and self.path is not None:
            raise ValueError(f"kind {self.kind} has no path; a function is of kind pairs or scores")
        if has_path and self.path is None:
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

    def looks(self, updates: int) -> int:
        """How many looks a stage of so many updates has."""
        return -(-updates // self.look_every)
