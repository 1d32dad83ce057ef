"""The shapes that signatures speak of: B stands for any leading dimensions, R response tokens, V vocabulary.

They document a signature and cost nothing at run time; the test suite switches their checking on.
"""

from jaxtyping import Float, Int, Shaped
from torch import Tensor

Number = float | int
"""A plain scalar argument; `float` alone would refuse `beta=1` when types are checked at run time."""

Scalar = Float[Tensor, ""]
"""() one float"""

Values = Float[Tensor, "*shape"]
"""(...) floats of any shape"""

MaskOfValues = Shaped[Tensor, "*shape"]
"""(...) 1 or True on entries that count; any dtype"""

PerSequence = Float[Tensor, "*B"]
"""(B) one float a sequence"""

Groups = Int[Tensor, "*B"]
"""(B) integers, alike for responses to one asking of a prompt"""

PerMember = Float[Tensor, "*B k"]
"""(B, k) one float a sequence by each of k reward models"""

PerToken = Float[Tensor, "*B R"]
"""(B, R) one float a response token"""

Tokens = Int[Tensor, "*B R"]
"""(B, R) token ids"""

Mask = Shaped[Tensor, "*B R"]
"""(B, R) 1 or True on tokens that count; any dtype"""

Logits = Float[Tensor, "*B R V"]
"""(B, R, V) unnormalised log-probabilities, aligned with the token each one predicts"""
