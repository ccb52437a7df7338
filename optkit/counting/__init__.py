"""How many weights are zero: of an array, of the encoder's layers, of a model."""
