"""Under torch.compile masks are part of the graph: changes in place are seen, and nothing is compiled anew for them."""

from __future__ import annotations

import pytest
import torch
from optimizer_steps import finish_step
from transformers import Trainer

from optkit.pruning import PruningCallback
from optkit.pruning.config import Movement, Obert, Rule, Schedule, SoftMovement, Wanda
from optkit.pruning.pruner import Pruner

SCHEDULE = Schedule(to=0.75, begin=2, end=6, every=2)
RULES = {
    "movement": Rule(criterion=Movement(), structure="1x4", schedule=SCHEDULE),
    "movement, regrowing": Rule(criterion=Movement(), structure="1x4", schedule=SCHEDULE, regrow=True),
    "soft movement": Rule(criterion=SoftMovement(), structure="1x4", schedule=SCHEDULE),
    "wanda": Rule(criterion=Wanda(), schedule=SCHEDULE),
    "obert": Rule(criterion=Obert(block=4), structure="1x4", schedule=SCHEDULE),
}


def trained(model, rule, forward, stance) -> list[torch.Tensor]:
    """Outputs (tokens, out) of each step of a training of ``model``, whose forward pass is ``forward``."""
    generator = torch.Generator().manual_seed(1)
    batches = torch.randn(8, 6, 16, generator=generator)
    pruner, outputs = Pruner(model, [rule]), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    pruner.start(8, 8)
    pruner.update(0)
    for step, batch in enumerate(batches, start=1):
        if step == 2:  # once compiled, always compiled
            torch.compiler.set_stance(stance)
        outputs.append(forward(batch))
        outputs[-1].square().mean().backward()
        finish_step(pruner, optimizer, step)
    pruner.fold()
    return [output.detach() for output in outputs]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_compiled_model_is_pruned_as_any_other(rule, stack):
    plain, model = stack((8, 16), (16, 8)), stack((8, 16), (16, 8))
    torch._dynamo.reset()
    try:
        expected = trained(plain, rule, plain, "default")
        # One whole graph, with its backward pass.
        outputs = trained(model, rule, torch.compile(model, backend="aot_eager", fullgraph=True), "fail_on_recompile")
    finally:
        torch.compiler.set_stance("default")
    for ours, theirs in zip(outputs, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours == 0, theirs == 0)
    assert sum(int((layer.weight == 0).sum()) for layer in model.layers) == 192


def test_the_callback_finds_its_model_behind_the_compiled_one(bert, rows, arguments, tmp_path):
    zeros = []
    for compiled in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        torch._dynamo.reset()
        pruning = PruningCallback(Rule(criterion=Movement(), structure="1x4", schedule=SCHEDULE))
        model = bert(num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        args = arguments(tmp_path, max_steps=7, bf16=True, **compiled)
        trainer = Trainer(model=model, args=args, train_dataset=rows(24), callbacks=[pruning])
        trainer.train()
        assert (trainer.model_wrapped is model) is (not compiled)
        pruning.fold()
        zeros.append(torch.cat([p.flatten() == 0 for p in model.bert.encoder.parameters()]))
    assert torch.equal(*zeros) and int(zeros[0].sum()) >= 0.75 * (4 * 32 * 32 + 2 * 64 * 32)
