"""The ways to cut a layer that truing knows, in the words of transformers' plans."""

BY_OUTPUTS, BY_INPUTS = "colwise", "rowwise"
"""The first of a pair of layers, which leaves a slice, and the second, which takes one"""
OUTPUTS_GATHERED = ("colwise_gather_output", "colwise_rep")
INPUTS_SPLIT = ("rowwise_split_input", "rowwise_rep")
"""The same where what is between the two is whole"""
SUMMED = "replicated_with_grad_allreduce"
"""Whole, and used on a slice, so that its gradient is to be summed"""
KNOWN = {BY_OUTPUTS, BY_INPUTS, *OUTPUTS_GATHERED, *INPUTS_SPLIT, SUMMED}


def axis_of(style: str, weight: str) -> int | None:
    """Along which a layer's weight or bias, by its name in the layer, is cut; None where it stays whole."""
    if style == BY_OUTPUTS or style in OUTPUTS_GATHERED:
        return 0
    return 1 if style != SUMMED and weight == "weight" else None
