"""Many runs of one recipe, a grid of options by seeds, and what they say together: reward against its price."""
