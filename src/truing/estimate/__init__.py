"""What a recipe needs and what the machine has, from dry runs of the real stages on copies with few layers."""
