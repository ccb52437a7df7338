"""Prunes a classifier while transformers' Trainer fine-tunes it: a Trainer of your own needs one callback and a fold.

    python examples/trainer.py --model google-bert/bert-base-uncased --train train.tsv --output pruned

The result is a plain checkpoint with exact zeros. Save checkpoints as ever: masks and scores are part of them, so
trainer.train(resume_from_checkpoint=True) goes on where a killed run stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sentences import CommandLine, load, read_sentences, run
from transformers import DataCollatorWithPadding, EvalPrediction, Trainer, TrainingArguments, set_seed

from optkit.pruning import Movement, PruningCallback, Rule, Schedule


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}


def main(options: argparse.Namespace) -> None:
    rule = Rule(criterion=Movement(), structure=options.structure, schedule=Schedule(to=options.sparsity))
    set_seed(0)
    model, tokenizer, examples = load(options)
    validation = read_sentences(options.validation, tokenizer) if options.validation else None

    pruning = PruningCallback(rule)
    trainer = Trainer(
        model=model,
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
        eval_dataset=validation,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=accuracy,
        callbacks=[pruning],  # here, not by add_callback: masks go on while the Trainer is built
    )
    trainer.train()
    (state,) = pruning.fold()  # masks become exact zeros, the model is plain again; one state for each rule

    model.save_pretrained(options.output)
    tokenizer.save_pretrained(options.output)
    if validation:
        print(f"accuracy {trainer.evaluate()['eval_accuracy']:.2%}")
    print(f"sparsity {state.sparsity:.2%}: {state.pruned} of {state.groups} groups ({state.structure}) are zero")
    print(f"saved in {options.output}")


if __name__ == "__main__":
    parser = CommandLine(__doc__)
    parser.add_argument("--validation", type=Path, help="a .tsv file to evaluate the pruned model on")
    run(main, parser)
