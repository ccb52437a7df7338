"""A teacher beside the student: logits, hidden states and attention, for any Trainer."""
