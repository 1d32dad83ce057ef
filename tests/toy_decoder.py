"""A decoder small enough to count by hand, and the models of an update of PPO on it."""

from truing.preflight.layouts import Models, Shape

TOY = Shape(
    layers=2,
    width=4,
    query_width=6,
    key_width=2,
    products=100,
    ends=30,
    others=10,
    vocabulary=40,
    projection=40,
    rest=20,
)
"""280 parameters, of which 240 can be cut"""
FOUR = Models(trained=2, frozen=2, adapters_trained=0, adapters_frozen=0, samples=True)
SHARED = Models(trained=0, frozen=1, adapters_trained=2, adapters_frozen=1, samples=True)
