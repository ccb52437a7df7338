"""Prunes a classifier in a training loop of your own: the lines marked P are all that Pruner asks of it.

    python examples/accelerate_loop.py --model google-bert/bert-base-uncased --train train.tsv --output pruned

A step is an optimizer step, however many batches it accumulates. observe() wants the gradients that the optimizer is
about to use: accumulated, averaged over processes, unscaled, clipped. So it stands after clip_grad_norm_, where
accelerate has undone the loss scale of fp16, and before optimizer.step().

Several processes (accelerate launch, DDP) need nothing more: each makes the same calls, and Pruner averages what DDP
does not. Whenever masks change it compares them over all processes, so they cannot drift apart unnoticed.
"""

from __future__ import annotations

import argparse
import math

import torch
from accelerate import Accelerator
from sentences import CommandLine, at_least_1, load, run
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, get_linear_schedule_with_warmup, set_seed

from optkit.pruning import Movement, Pruner, Rule, Schedule


def main(options: argparse.Namespace) -> None:
    rule = Rule(criterion=Movement(), structure=options.structure, schedule=Schedule(to=options.sparsity))
    accelerator = Accelerator(
        mixed_precision=options.mixed_precision, gradient_accumulation_steps=options.accumulate, cpu=options.cpu
    )
    set_seed(0)
    model, tokenizer, examples = load(options)
    model.train()
    batches = DataLoader(examples, options.batch, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))

    pruner = Pruner(model, [rule])  # P  the plain model, before optimizer and prepare() take its parameters
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    steps_per_epoch = math.ceil(len(batches) / accelerator.gradient_accumulation_steps)  # a shorter last one counts
    total_steps = options.epochs * steps_per_epoch
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, total_steps)

    step = 0
    pruner.start(total_steps, steps_per_epoch)  # P
    pruner.update(step)  # P
    for _ in range(options.epochs):
        for batch in batches:
            with accelerator.accumulate(model):
                accelerator.backward(model(**batch).loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                    pruner.observe(skip_nonfinite=accelerator.mixed_precision == "fp16")  # P
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                scheduler.step()
                step += 1
                pruner.update(step)  # P
    (state,) = pruner.fold()  # P  masks become exact zeros; a state for each rule

    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(options.output)
        tokenizer.save_pretrained(options.output)
        print(f"sparsity {state.sparsity:.2%}: {state.pruned} of {state.groups} groups ({state.structure}) are zero")
        print(f"saved in {options.output}")
    accelerator.end_training()


if __name__ == "__main__":
    parser = CommandLine(__doc__)
    parser.add_argument("--accumulate", type=at_least_1, default=1, help="batches of an optimizer step (%(default)s)")
    parser.add_argument("--mixed-precision", choices=["no", "fp16", "bf16"], default="no", help="(%(default)s)")
    parser.add_argument("--cpu", action="store_true", help="leave the GPU alone")
    run(main, parser)
