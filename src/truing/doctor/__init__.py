"""What a recipe needs and what the machine has. Predicts without loading a weight; imports torch."""
