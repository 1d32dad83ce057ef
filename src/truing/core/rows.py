"""Token ids of rows as they wait to be learnt from: plain lists, padded a micro-batch at a time on the way to a device.

Both kinds are batches (`truing.core.batches.Batch`): any part of them can be taken, planned by its tokens and collated.
They can be made and counted without torch, which is imported only where they go to a device.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from truing.core.records import Tokens

if TYPE_CHECKING:
    import torch

    from truing.core.batches import PairBatch, Sequences

Rows = TypeVar("Rows", bound="TokenRows | PairRows | RatedRows")


@dataclass(frozen=True)
class TokenRows:
    """Prompts, each with its response."""

    prompts: Sequence[Tokens]
    responses: Sequence[Tokens]
    pad: int
    names: Sequence[str] = ()
    """Which row each one is, for errors: `demonstrations.jsonl:3`; empty where nobody knows"""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def count(self) -> int:
        """Response tokens."""
        return sum(map(len, self.responses))

    @property
    def token_counts(self) -> list[int]:
        return [len(prompt) + len(response) for prompt, response in zip(self.prompts, self.responses, strict=True)]

    @property
    def response_lengths(self) -> list[int]:
        return list(map(len, self.responses))

    def rows(self, index: Sequence[int]) -> Self:
        return type(self)(
            [self.prompts[row] for row in index],
            [self.responses[row] for row in index],
            self.pad,
            [self.names[row] for row in index] if self.names else (),
        )

    def closed_by(self, closing: Tokens, ends: Tokens) -> Self:
        """The same with `closing` in place of the token that `ends` a response; one that was cut stays as it is."""
        closed = [(*row[:-1], *closing) if row and row[-1] in ends else row for row in self.responses]
        return replace(self, responses=closed)

    def to(self, device: "torch.device") -> "Sequences":
        """Padded on the right to the longest."""
        from truing.core.batches import Sequences  # imports torch

        return Sequences.collate(self.prompts, self.responses, self.pad, self.names).to(device)


@dataclass(frozen=True)
class PairRows:
    """Prompts, each with the response that was preferred and the one that was not."""

    chosen: TokenRows
    rejected: TokenRows
    """The same prompts"""
    margins: Sequence[float]
    """0 where the data says nothing"""
    sources: Sequence[str] = ()
    """Where each is from, empty where its row does not say; none at all where nobody knows"""
    weights: Sequence[Sequence[int]] = ()
    """How often each counts for each of several that learn from them; empty where all count once"""
    shares: Sequence[float] = ()
    """Of people, how many preferred the chosen side: ½ to 1; empty where the rows say nothing, which is 1"""

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def count(self) -> int:
        """Pairs."""
        return len(self)

    @property
    def names(self) -> Sequence[str]:
        return self.chosen.names

    @property
    def token_counts(self) -> list[int]:
        return [c + r for c, r in zip(self.chosen.token_counts, self.rejected.token_counts, strict=True)]

    def rows(self, index: Sequence[int]) -> Self:
        return type(self)(
            self.chosen.rows(index),
            self.rejected.rows(index),
            [self.margins[row] for row in index],
            [self.sources[row] for row in index] if self.sources else (),
            [self.weights[row] for row in index] if self.weights else (),
            [self.shares[row] for row in index] if self.shares else (),
        )

    def closed_by(self, closing: Tokens, ends: Tokens) -> Self:
        """As of the rows."""
        chosen, rejected = self.chosen.closed_by(closing, ends), self.rejected.closed_by(closing, ends)
        return replace(self, chosen=chosen, rejected=rejected)

    def to(self, device: "torch.device") -> "PairBatch":
        import torch

        from truing.core.batches import PairBatch
        from truing.core.transfer import to_device

        margins = to_device(torch.tensor(self.margins), device)
        weights = to_device(torch.tensor(self.weights, dtype=margins.dtype), device) if self.weights else None
        shares = to_device(torch.tensor(self.shares), device) if self.shares else None
        return PairBatch(self.chosen.to(device), self.rejected.to(device), margins, weights, shares)


@dataclass(frozen=True)
class RatedRows:
    """Prompts, each with a response and whether it is one that is wanted."""

    responses: TokenRows
    desired: Sequence[bool]

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def count(self) -> int:
        """Responses."""
        return len(self)

    @property
    def names(self) -> Sequence[str]:
        return self.responses.names

    @property
    def token_counts(self) -> list[int]:
        return self.responses.token_counts

    def rows(self, index: Sequence[int]) -> Self:
        return type(self)(self.responses.rows(index), [self.desired[row] for row in index])

    def mismatched(self) -> TokenRows:
        """The prompts, each with the response of a row that has another prompt, and every response once.

        A response is cut where it would make its row longer than the longest. Where one prompt has more than half of
        the rows, some of its rows keep a response to it.
        """
        rows, firsts = self.responses, dict[Tokens, int]()
        groups = [firsts.setdefault(prompt, row) for row, prompt in enumerate(rows.prompts)]
        order = sorted(range(len(self)), key=groups.__getitem__)  # all rows of a prompt next to each other
        most = max(Counter(groups).values())
        shift, longest = (most if most < len(self) else 1), max(rows.token_counts)
        partners = {row: order[place - shift] for place, row in enumerate(order)}
        room = [longest - len(prompt) for prompt in rows.prompts]
        return replace(rows, responses=[rows.responses[partners[row]][: room[row]] for row in range(len(self))])


@dataclass(frozen=True)
class RowsWith(Generic[Rows]):
    """Rows that wait, with what was measured of each beside them: as a batch, they are what the rows are."""

    own: Rows

    def __len__(self) -> int:
        return len(self.own)

    @property
    def count(self) -> int:
        return self.own.count

    @property
    def token_counts(self) -> list[int]:
        return self.own.token_counts

    @property
    def names(self) -> Sequence[str]:
        return self.own.names
