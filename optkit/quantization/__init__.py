"""int8 of a model: which layers, how, what each of them costs, and how much may be lost."""
