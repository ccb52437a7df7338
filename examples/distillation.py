"""Prunes a classifier that learns from a teacher, too: usually the same model, fine-tuned and not pruned.

    python examples/distillation.py --model fine-tuned --teacher fine-tuned --train train.tsv --output pruned

DistillationMixin goes in front of the Trainer, or of your own subclass of it. The loss is then
(1 - weight) * loss of the labels + weight * T^2 * KL(teacher || student), T being the temperature; evaluation stays as
it is. With --hidden the student copies hidden states, too, with --attention the relations among tokens; a layer of the
student copies the layer of the teacher that is as far up, and widths may differ. Rows with label -100 have none: give
unlabelled text to the data set so.

Where the teacher is large and logits are enough, run it once beforehand and give its logits to the data set as a column
``teacher_logits``, with teacher=None and remove_unused_columns=False.
"""

from __future__ import annotations

import argparse

import torch
from sentences import CommandLine, load, run
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from optkit.pruning import (
    AttentionDistillation,
    DistillationMixin,
    HiddenDistillation,
    Movement,
    PruningCallback,
    Rule,
    Schedule,
)


class DistillationTrainer(DistillationMixin, Trainer):
    """A Trainer that takes ``teacher``, ``temperature``, ``distillation_weight``, ``hidden`` and ``attention``."""


def main(options: argparse.Namespace) -> None:
    rule = Rule(criterion=Movement(), structure=options.structure, schedule=Schedule(to=options.sparsity))
    set_seed(0)
    model, tokenizer, examples = load(options)
    teacher = AutoModelForSequenceClassification.from_pretrained(options.teacher)
    if (classes := teacher.config.num_labels) != model.config.num_labels:
        raise ValueError(f"{options.teacher} knows {classes} classes, {options.train} has {model.config.num_labels}")

    pruning = PruningCallback(rule)
    trainer = DistillationTrainer(
        model=model,
        teacher=teacher,  # with the student's tokenizer: it is given the same batches
        temperature=options.temperature,
        distillation_weight=options.weight,
        hidden=HiddenDistillation(options.hidden) if options.hidden else None,
        attention=AttentionDistillation(options.attention) if options.attention else None,
        args=TrainingArguments(
            output_dir=str(options.output),
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch,
            learning_rate=options.learning_rate,
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=torch.accelerator.is_available(),
        ),
        train_dataset=examples,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[pruning],
    )
    trainer.train()
    (state,) = pruning.fold()

    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    print(f"sparsity {state.sparsity:.2%}: {state.pruned} of {state.groups} groups ({state.structure}) are zero")
    print(f"saved in {options.output}")


def temperature(text: str) -> float:
    if not (value := float(text)) > 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
    return value


def share(text: str) -> float:
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not from 0 to 1")
    return value


if __name__ == "__main__":
    parser = CommandLine(__doc__)
    parser.add_argument("--teacher", required=True, help="a fine-tuned model of the same classes and tokenizer")
    parser.add_argument("--temperature", type=temperature, default=2.0, help="softens both models (%(default)s)")
    parser.add_argument("--weight", type=share, default=0.9, help="share of the teacher in the loss (%(default)s)")
    parser.add_argument("--hidden", type=float, default=0.0, help="weight of hidden states (%(default)s)")
    parser.add_argument("--attention", type=float, default=0.0, help="weight of attention relations (%(default)s)")
    run(main, parser)
